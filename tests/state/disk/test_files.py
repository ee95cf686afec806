"""Replacing a file: flushed before it gets its name, the name flushed before the call returns, whole wherever it ends.

What the process asks of the system is seen by the interpreter's profiler, which is told of every call into C.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from state.disk.files import PRIVATE, publish_file, rename_flushed, replace_file, replacing

Write = Callable[[Path, bytes], None]
WRITERS = [pytest.param(replace_file, "replace", id="replace"), pytest.param(publish_file, "link", id="publish")]


NAMING = (os.replace, os.link, os.rename, os.unlink)


class CutError(Exception):
    """The process ends here."""


@contextmanager
def watched(told: Callable[[str], None]) -> Iterator[None]:
    """Tell what the block is about to do to the disk."""

    def look(frame: FrameType, event: str, called: Any) -> None:
        if event != "c_call":
            return
        writes = isinstance(getattr(called, "__self__", None), io.BufferedWriter)
        if called is os.fsync:
            descriptor = frame.f_locals.get("descriptor")  # of a directory, which `flush` has opened
            told("fsync of the file" if descriptor is None else f"fsync of {_path_of(descriptor)}")
        elif (writes and called.__name__ in {"write", "flush"}) or called in NAMING:
            told(called.__name__)

    sys.setprofile(look)
    try:
        yield
    finally:
        sys.setprofile(None)


def _path_of(descriptor: int) -> Path:
    return Path(f"/proc/self/fd/{descriptor}").readlink()


def steps_of(action: Callable[[], None]) -> list[str]:
    steps: list[str] = []
    with watched(steps.append):
        action()
    return steps


@pytest.mark.parametrize(("write", "naming"), WRITERS)
def test_bytes_are_flushed_before_the_name_and_the_name_before_the_end(
    tmp_path: Path, write: Write, naming: str
) -> None:
    steps = [step for step in steps_of(lambda: write(tmp_path / "file", b"new")) if step != "unlink"]  # of the draft
    assert steps == ["write", "flush", "fsync of the file", naming, f"fsync of {tmp_path}"]
    assert (tmp_path / "file").read_bytes() == b"new"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_rename_is_flushed_on_both_sides(tmp_path: Path) -> None:
    (tmp_path / "draft").mkdir()
    steps = steps_of(lambda: rename_flushed(tmp_path / "draft", tmp_path / "real"))
    assert steps == [f"fsync of {tmp_path / 'draft'}", "rename", f"fsync of {tmp_path}"]
    assert (tmp_path / "real").is_dir()


@pytest.mark.parametrize("last", range(5))
def test_wherever_it_ends_a_reader_finds_the_old_content_or_the_new(tmp_path: Path, last: int) -> None:
    path, seen = tmp_path / "file", list[str]()
    replace_file(path, b"old")

    def told(step: str) -> None:
        seen.append(step)
        if len(seen) == last + 1:
            raise CutError

    with pytest.raises(CutError), watched(told):
        replace_file(path, b"new and longer")
    assert path.read_bytes() == (b"new and longer" if "replace" in seen[:-1] else b"old")
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


def test_what_was_published_first_stays(tmp_path: Path) -> None:
    publish_file(tmp_path / "deep" / "file", b"first", mode=PRIVATE)
    publish_file(tmp_path / "deep" / "file", b"second")
    assert (tmp_path / "deep" / "file").read_bytes() == b"first"
    assert (tmp_path / "deep" / "file").stat().st_mode & 0o777 == PRIVATE


def test_an_error_names_the_file_that_was_asked_for(tmp_path: Path) -> None:
    wanted = tmp_path / "nowhere" / "out.ndjson"
    with pytest.raises(FileNotFoundError) as raised, replacing(wanted):
        pass
    assert raised.value.filename == str(wanted)
