"""Which files with secrets every account of this machine may read: the configuration, the keys that it names, and data.

The directories of data are made for their owner alone, but those of earlier versions, and copies, may be open.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path

from flows.config.options import masked
from flows.config.settings import Settings

_OTHERS = 0o007
_PUBLIC = "ca_file"
_OF_PEOPLE = ("log", "state", "exports", "archive", "sandbox")
"""Directories with addresses and texts."""


def exposed_files(settings: Settings, configuration: Path) -> Iterator[str]:
    """What is wrong with each, and the remedy. A group may be let in: services often have one of their own."""
    files = [*_key_files(settings)]
    if _holds_secrets(settings, configuration):
        files.insert(0, configuration)
    for file in files:
        try:
            mode = file.stat().st_mode & 0o777
        except OSError:
            continue  # whoever needs it says so
        if mode & _OTHERS:
            yield f"{file} holds secrets and every account of this machine may use it (mode {mode:o}): chmod o= {file}"
    data = settings.data_dir
    if _is_open(data) and any(_is_open(data / name) for name in _OF_PEOPLE):
        mode = data.stat().st_mode & 0o777
        yield f"{data} holds data of people; every account of this machine may use it (mode {mode:o}): chmod o= {data}"


def _is_open(directory: Path) -> bool:
    return directory.is_dir() and bool(directory.stat().st_mode & _OTHERS)


def _key_files(settings: Settings) -> Iterator[Path]:
    for each in fields(settings.providers):
        options = getattr(settings.providers, each.name)
        if is_dataclass(options):
            found = {option.name: getattr(options, option.name) for option in fields(options)}
            yield from (value for name, value in found.items() if name != _PUBLIC and isinstance(value, Path))


def _holds_secrets(settings: Settings, configuration: Path) -> bool:
    """By the keys that are never shown; what the environment gave in their place leaves the file as it is."""
    try:
        table = tomllib.loads(configuration.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return _any_secret(table, masked(settings))


def _any_secret(given: object, shown: object) -> bool:
    if isinstance(given, Mapping) and isinstance(shown, Mapping):
        return any(_any_secret(value, shown.get(name)) for name, value in given.items())
    plain_address = isinstance(given, str) and "://" in given and "@" not in given
    return isinstance(shown, str) and "***" in shown and not plain_address
