"""Files that appear whole or not at all, also when the power goes (but for `replace_unflushed`).

The bytes go to another file beside the real one, which is flushed before a rename or a link gives it its name. Then the
directory is flushed. A reader finds the old content or the new one, and what a call has returned for is on the disk.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import get_ident
from typing import BinaryIO

PRIVATE = 0o600
"""Readable by the owner only."""
_USUAL = 0o666


def replace_file(path: Path, content: bytes, *, mode: int = _USUAL) -> None:
    """Give a file new content; its directory is made if it is missing.

    :raises OSError: the disk refuses; the file is as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path, mode=mode) as file:
        file.write(content)


def replace_unflushed(path: Path, content: bytes) -> None:
    """The same without a flush, which makes all wait who share the disk: for what nobody misses after a loss of power.

    :raises OSError: the disk refuses; the file is as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with draft_of(path) as draft:
        draft.write_bytes(content)
        draft.replace(path)


@contextmanager
def replacing(path: Path, *, mode: int = _USUAL) -> Iterator[BinaryIO]:
    """The body writes what the file is to hold; if it fails, the file is as it was."""
    with draft_of(path) as draft:
        with _opened(draft, path, mode) as file:
            yield file
        draft.replace(path)
    flush(path.parent)


def publish_file(path: Path, content: bytes, *, mode: int = _USUAL) -> None:
    """Write a file that must not change any more: one that another process published before stays.

    :raises OSError: the disk refuses.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with draft_of(path) as draft:
        with _opened(draft, path, mode) as file:
            file.write(content)
        publish(draft, path)
    flush(path.parent)


def publish(draft: Path, path: Path) -> None:
    """Give a flushed draft its name, unless another process was first. Flush the directory afterwards."""
    with suppress(FileExistsError):
        os.link(draft, path)


@contextmanager
def draft_of(path: Path) -> Iterator[Path]:
    """A name beside the real one, of this thread only; what still has it at the end is removed."""
    draft = path.with_name(f".{path.name}.{os.getpid()}-{get_ident()}")
    try:
        yield draft
    finally:
        draft.unlink(missing_ok=True)


def rename_flushed(source: Path, target: Path) -> None:
    """Another name in one step for a file, or for a directory whose files are flushed."""
    flush(source)
    source.rename(target)
    flush(target.parent)


def flush(path: Path) -> None:
    """The bytes of a file, or the entries of a directory, reach the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _opened(draft: Path, wanted: Path, mode: int) -> Iterator[BinaryIO]:
    """An error names the file that is meant: nobody asked for a draft."""
    try:
        opened = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(wanted)) from error
    with os.fdopen(opened, "wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())
