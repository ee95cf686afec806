"""Environments with the libraries of others, beside our own: to compare, and for clients that speak to our servers."""

import subprocess
import sys
from hashlib import sha256
from pathlib import Path

from infra.services import CACHE


def environment_of(name: str, lock: Path) -> str:
    """The interpreter of an environment that has what a lock file names; it is made if the lock changed.

    :raises subprocess.CalledProcessError: it cannot be installed.
    """
    venv, want = CACHE / name, sha256(lock.read_bytes()).hexdigest()
    stamp, executable = venv / ".installed", venv / "bin" / "python"
    if not (stamp.exists() and stamp.read_text() == want):
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(venv)], check=True)
        pip = [str(executable), "-m", "pip", "--disable-pip-version-check", "install", "-q", "--require-hashes"]
        subprocess.run([*pip, "--prefer-binary", "-r", str(lock)], check=True)
        stamp.write_text(want)
    return str(executable)
