"""One live process per state directory.

A process that was stopped (SIGSTOP, a frozen container) and wakes up again would go on writing beside its
replacement. So a process that writes a state directory holds this lock as long as it lives. The kernel frees the lock
when the process is gone, and not before. A replacement that comes too early is refused.

File: `<directory>/owner.lock`, empty or the text `<pid> <owner>`; only the lock on it counts, the text is for the
message.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from types import TracebackType
from typing import Self

from state.model.errors import StateError, StateLockedError

FILE_NAME = "owner.lock"


def try_flock(descriptor: int, how: int = fcntl.LOCK_EX) -> bool:
    """Lock the open file, until it is closed; False, and at once, where another open file has it locked."""
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _owned(directory: Path, wanted: str, holder: str) -> StateLockedError:
    pid = holder.partition(" ")[0] or "PID"
    return StateLockedError(
        f"{directory} is owned by process {holder or 'unknown'}; stop it before {wanted} starts. What `carillon up` or "
        f"a service manager runs is started again when it is killed, so stop it there; otherwise kill {pid}, or "
        f"kill -9 {pid} if it hangs or is stopped"
    )


def _unwritable(directory: Path, error: OSError) -> StateError:
    return StateError(f"{directory} cannot be written ({error.strerror}); free space or make it writable, then restart")


class StateLock:
    """An exclusive lock on a directory, held until `release` or the end of the process."""

    def __init__(self, directory: Path, descriptor: int) -> None:
        self.directory = directory
        self._descriptor: int | None = descriptor

    @classmethod
    def acquire(cls, directory: Path, owner: str) -> Self:
        """Take the directory (made if missing) for this process, or refuse at once; it never waits.

        :raises StateLockedError: another live process owns it; stop that process first.
        :raises StateError: the directory cannot be written.
        """
        try:
            directory.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(directory / FILE_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise _unwritable(directory, error) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()} {owner}\n".encode(), 0)
        except BlockingIOError as error:
            refusal = _owned(directory, owner, os.pread(descriptor, 200, 0).decode("utf-8", "replace").strip())
            os.close(descriptor)
            raise refusal from error
        except OSError as error:
            os.close(descriptor)
            raise _unwritable(directory, error) from error
        return cls(directory, descriptor)

    def release(self) -> None:
        """Give the directory back; a second call does nothing."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()
