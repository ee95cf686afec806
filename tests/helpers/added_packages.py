"""Packages beside Carillon, as pip leaves them: modules with their metadata in a folder for PYTHONPATH."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from helpers import voice_calls

VOICE = {"carillon.channels": {"voice": "voice_calls:CHANNEL"}, "carillon.providers": {"voice": "voice_calls:PROVIDER"}}


def install(site: Path, package: str, points: Mapping[str, Mapping[str, str]], code: str = "") -> Path:
    """One module of the package's name, and what its entry points say."""
    information = site / f"{package}-1.0.dist-info"
    information.mkdir(parents=True)
    (site / f"{package}.py").write_text(code)
    (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    groups = (f"[{group}]\n" + "".join(f"{n} = {v}\n" for n, v in names.items()) for group, names in points.items())
    (information / "entry_points.txt").write_text("\n".join(groups))
    return site


def install_voice(site: Path) -> Path:
    """The channel `voice`."""
    return install(site, "voice_calls", VOICE, Path(voice_calls.__file__).read_text())
