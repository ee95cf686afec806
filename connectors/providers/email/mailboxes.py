"""Mails in files as they lie about: one in a file, many in an mbox, a directory, a Maildir, or standard input.

Of each mail no more is kept than `classify` reads: neither a mailbox nor a mail of any length fills the memory. A file
is read as far as it went at a moment when nobody held its lock, as servers do who append to a mailbox.
"""

from __future__ import annotations

import fcntl
import os
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from connectors.providers.email.returned.mime import BYTES_MAX

_KEPT = BYTES_MAX + 1
"""One more than is read, so that it is seen that there was more."""
_LINE = 1 << 16
_SEPARATOR = re.compile(rb"From \S+ .*\d\d:\d\d.*\d{4}")
_SUBDIRECTORIES = ("new", "cur")
_LOCK_TRIES, _LOCK_PAUSE_S = 50, 0.1


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
        try:
            opened = file.open("rb")
        except FileNotFoundError:
            if file == path:
                raise
            continue  # from a directory others move mails, which are read under their new names the next time
        with opened:
            yield from _mails(str(file), opened, _size_at_rest(opened))


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    maildir = [path / name for name in _SUBDIRECTORIES if (path / name).is_dir()]
    places = maildir or [path]
    return sorted(file for place in places for file in place.iterdir() if file.is_file() and file.name[0] != ".")


def _size_at_rest(file: BinaryIO) -> int:
    """While nobody appends to it; who holds its lock for longer than a server does is not waited for."""
    for _ in range(_LOCK_TRIES):
        try:
            fcntl.lockf(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_LOCK_PAUSE_S)
            continue
        except OSError:  # a file system without locks
            break
        size = os.fstat(file.fileno()).st_size
        fcntl.lockf(file, fcntl.LOCK_UN)
        return size
    return os.fstat(file.fileno()).st_size


def _mails(name: str, file: BinaryIO, left: int = sys.maxsize) -> Iterator[StoredMail]:
    """One, or those of an mbox: it begins with "From ", and before each mail has such a line behind an empty one."""
    first = file.readline(min(_LINE, left))
    left -= len(first)
    mbox = first.startswith(b"From ")
    kept, number, size, after_empty = [] if mbox else [first], 1, 0 if mbox else len(first), False
    while line := file.readline(min(_LINE, left)):
        left -= len(line)
        if mbox and after_empty and _SEPARATOR.match(line):
            yield StoredMail(name, number, b"".join(kept))
            kept, number, size = [], number + 1, 0
        elif size < _KEPT:
            kept.append(line)
            size += len(line)
        after_empty = line in (b"\n", b"\r\n")
    yield StoredMail(name, number, b"".join(kept))
