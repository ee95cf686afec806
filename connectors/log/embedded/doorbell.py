"""Doorbells: an append to a partition wakes the readers of other processes that wait for it.

Under the log's `run` directory:

    bells/<id>                                  a FIFO that one reader waits on
    doorbells/<topic>/<partition>/<id>-<slot>   a link to it; the writer rings by writing the slot (u32, little-endian)

A ring is only a hint. It may be lost (a reader that registered within the last `RELIST`, a full pipe), so a reader
looks for itself every `RECHECK`. The FIFO of a reader that died has no reading end: the next writer finds that out
and removes it.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import select
import struct
import time
import uuid
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

RELIST = timedelta(milliseconds=100)
"""How long a writer trusts its list of bells when the directory looks unchanged."""
RECHECK = timedelta(milliseconds=200)
"""How often a waiting reader looks without having been rung, while it is new: writers may not know it yet."""
NEW_FOR = timedelta(seconds=5)
RECHECK_LATER = timedelta(seconds=3)
"""The same for a reader that every writer knows: it would only see what a writer on its way down did not ring."""

_SLOT = struct.Struct("<I")
_READ_BYTES = 4096
_ids = itertools.count()


def bell_directory(run: Path, topic: str, partition: int) -> Path:
    """Where the bells of one partition hang."""
    return run / "doorbells" / topic / str(partition)


class Bell:
    """The reading side: hears which of its slots were rung. One thread at a time."""

    def __init__(self, run: Path, partitions: Sequence[tuple[str, int]]) -> None:
        """Hang a bell at each partition; the position in `partitions` is its slot."""
        name = f"{os.getpid()}.{next(_ids)}.{uuid.uuid4().hex[:8]}"
        self._fifo = run / "bells" / name
        self._fifo.parent.mkdir(parents=True, exist_ok=True)
        os.mkfifo(self._fifo)
        self._fd = os.open(self._fifo, os.O_RDONLY | os.O_NONBLOCK)
        self._keep = os.open(self._fifo, os.O_WRONLY | os.O_NONBLOCK)  # without a writer a FIFO always looks ready
        self._poll = select.poll()
        self._poll.register(self._fd, select.POLLIN)
        self._slots = len(partitions)
        self._links = [
            bell_directory(run, topic, partition) / f"{name}-{slot}"
            for slot, (topic, partition) in enumerate(partitions)
        ]
        for link in self._links:
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(self._fifo.absolute())

    def hear(self, wait: timedelta) -> set[int]:
        """Wait for a ring and give the slots rung since the last call; empty after `wait`."""
        if not self._poll.poll(max(0.0, wait.total_seconds() * 1000)):
            return set()
        rung = os.read(self._fd, _READ_BYTES)
        if len(rung) < _READ_BYTES:
            return {slot for (slot,) in _SLOT.iter_unpack(rung)}
        while self._poll.poll(0):
            os.read(self._fd, _READ_BYTES)
        return set(range(self._slots))

    def close(self) -> None:
        """Take the bell down."""
        for path in (*self._links, self._fifo):
            path.unlink(missing_ok=True)
        os.close(self._fd)
        os.close(self._keep)


class Ringer:
    """The writing side for one partition. Not thread-safe: its owner holds the partition's lock."""

    def __init__(self, run: Path, topic: str, partition: int) -> None:
        self._directory = bell_directory(run, topic, partition)
        self._directory.mkdir(parents=True, exist_ok=True)
        self._bells: dict[str, tuple[int, bytes]] = {}
        self._changed_ns = -1
        self._listed_at = 0.0

    def ring(self) -> None:
        """Ring every bell; never blocks and never fails."""
        self._refresh()
        for name, (fd, slot) in list(self._bells.items()):
            try:
                os.write(fd, slot)
            except BlockingIOError:
                continue  # a full pipe rings already
            except OSError:
                self._forget(name)

    def close(self) -> None:
        """Let go of the bells; they stay for other writers."""
        for fd, _ in self._bells.values():
            os.close(fd)
        self._bells.clear()

    def _refresh(self) -> None:
        """List the directory when it changed, and now and then, since its time is too coarse to be trusted alone."""
        changed_ns = self._directory.stat().st_mtime_ns
        now = time.monotonic()
        if changed_ns == self._changed_ns and now - self._listed_at < RELIST.total_seconds():
            return
        self._changed_ns, self._listed_at = changed_ns, now
        names = {path.name for path in self._directory.iterdir()}
        for name in self._bells.keys() - names:
            os.close(self._bells.pop(name)[0])
        for name in names - self._bells.keys():
            self._remember(name)

    def _remember(self, name: str) -> None:
        slot = name.rpartition("-")[2]
        try:
            fd = os.open(self._directory / name, os.O_WRONLY | os.O_NONBLOCK)
        except OSError as error:
            if error.errno in (errno.ENXIO, errno.ENOENT):
                self._remove(name)
            return
        self._bells[name] = (fd, _SLOT.pack(int(slot)))

    def _forget(self, name: str) -> None:
        os.close(self._bells.pop(name)[0])
        self._remove(name)

    def _remove(self, name: str) -> None:
        """Remove the link of a dead reader, and its FIFO."""
        link = self._directory / name
        with contextlib.suppress(OSError):
            link.readlink().unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            link.unlink()
