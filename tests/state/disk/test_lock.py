"""One live process per state directory."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from state.disk.lock import StateLock
from state.model.errors import StateLockedError

HOLDER = "import sys, time, pathlib; from state.disk.lock import StateLock; l = StateLock.acquire(pathlib.Path(sys.argv[1]), 'holder'); print('held', flush=True); time.sleep(60)"  # noqa: E501 - one program as text


def test_a_second_owner_is_refused_until_the_first_is_gone(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "held\n"
            with pytest.raises(
                StateLockedError, match=rf"{holder.pid} holder; .*`carillon up`.* started again.*kill {holder.pid},"
            ):
                StateLock.acquire(tmp_path, "second")
            holder.send_signal(signal.SIGSTOP)  # a stopped owner is still the owner
            with pytest.raises(StateLockedError):
                StateLock.acquire(tmp_path, "second")
        finally:
            holder.kill()
    StateLock.acquire(tmp_path, "second").release()


def test_release_frees_and_may_be_repeated(tmp_path: Path) -> None:
    lock = StateLock.acquire(tmp_path, "one")
    with pytest.raises(StateLockedError):
        StateLock.acquire(tmp_path, "two")
    lock.release()
    lock.release()
    with StateLock.acquire(tmp_path, "two"):
        pass
