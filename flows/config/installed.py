"""Providers of other installed packages, which `[providers.installed.NAME]` switches on."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, NamedTuple

from connectors.providers.provider import GROUP, Provider, ProviderTable
from flows.config.options import load_all
from state.model.addresses import is_kind
from state.model.channels import INTERRUPTIVE
from state.model.errors import ConfigurationError

if TYPE_CHECKING:
    from flows.config.settings import Settings


class InstalledProvider(NamedTuple):
    """A provider with its options."""

    provider: Provider
    options: ProviderTable


def installed_providers(settings: Settings) -> dict[str, InstalledProvider]:
    """Those that are switched on, by name.

    :raises ConfigurationError: there is no such provider, or its options do not fit.
    """
    faults: list[str] = []
    found = {name: _loaded(name, table, faults) for name, table in settings.providers.installed.items()}
    if faults:
        raise ConfigurationError("; ".join(faults))
    return {name: each for name, each in found.items() if each is not None}


def installed_faults(settings: Settings) -> Iterator[str]:
    """What is wrong with them, each with its key and the remedy."""
    for name, table in settings.providers.installed.items():
        faults: list[str] = []
        found = _loaded(name, table, faults)
        yield from faults
        if found is not None and not faults:
            yield from found.options.faults()


def _loaded(name: str, table: object, faults: list[str]) -> InstalledProvider | None:
    key = f"providers.installed.{name}"
    try:
        provider = _provider(name)
    except ConfigurationError as error:
        faults.append(f"{key}: {error}")
        return None
    options = load_all(provider.options, table, where=key, faults=faults)
    return None if options is None else InstalledProvider(provider, options)


@cache
def _provider(name: str) -> Provider:
    """:raises ConfigurationError: no package has it, or what it has is none."""
    points = entry_points(group=GROUP)
    point = next((each for each in points if each.name == name), None)
    if point is None:
        there = ", ".join(sorted(each.name for each in points)) or "none"
        raise ConfigurationError(f"no installed package has such a provider; there is {there}")
    try:
        provider = point.load()
    except Exception as error:
        raise ConfigurationError(f"{point.value} cannot be loaded: {type(error).__name__}") from error
    if not isinstance(provider, Provider) or provider.place[0] not in INTERRUPTIVE or not is_kind(provider.kind):
        raise ConfigurationError(f"{point.value} is no provider of a channel with a kind of address that there is")
    return provider
