"""Mails in files as they lie about: one in a file, many in an mbox, a directory, a Maildir, or standard input.

Of each mail no more is kept than `classify` reads: neither a mailbox nor a mail of any length fills the memory.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from connectors.providers.email.returned.mime import BYTES_MAX

_KEPT = BYTES_MAX + 1
"""One more than is read, so that it is seen that there was more."""
_LINE = 1 << 16
_SEPARATOR = re.compile(rb"From \S+ .*\d\d:\d\d.*\d{4}")
_SUBDIRECTORIES = ("new", "cur")


class StoredMail(NamedTuple):
    """A mail and where it lies."""

    file: str
    number: int
    """In its file, from 1."""
    raw: bytes


def stored_mails(path: Path) -> Iterator[StoredMail]:
    """The mails at a path, `-` for standard input; those of a directory by name, hidden files left out."""
    if str(path) == "-":
        yield from _mails("-", sys.stdin.buffer)
        return
    for file in _files(path):
        with file.open("rb") as opened:
            yield from _mails(str(file), opened)


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    maildir = [path / name for name in _SUBDIRECTORIES if (path / name).is_dir()]
    places = maildir or [path]
    return sorted(file for place in places for file in place.iterdir() if file.is_file() and file.name[0] != ".")


def _mails(name: str, file: BinaryIO) -> Iterator[StoredMail]:
    """One, or those of an mbox: it begins with "From ", and before each mail has such a line behind an empty one."""
    first = file.readline(_LINE)
    mbox = first.startswith(b"From ")
    kept, number, size, after_empty = [] if mbox else [first], 1, 0 if mbox else len(first), False
    while line := file.readline(_LINE):
        if mbox and after_empty and _SEPARATOR.match(line):
            yield StoredMail(name, number, b"".join(kept))
            kept, number, size = [], number + 1, 0
        elif size < _KEPT:
            kept.append(line)
            size += len(line)
        after_empty = line in (b"\n", b"\r\n")
    yield StoredMail(name, number, b"".join(kept))
