"""Whether a data directory's disk has room."""

import shutil
from pathlib import Path

_ROOM_MIN = 64 << 20


def full_disk(directory: Path) -> str | None:
    """What is wrong with the disk of a directory that is there; None: there is room."""
    found = shutil.disk_usage(directory)
    if found.free >= _ROOM_MIN:
        return None
    return f"{found.free >> 20} MB of {found.total >> 20} are free on its disk: make room, or shorten log.retention"
