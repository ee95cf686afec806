"""Which channels there are: those of RULES, and those that other installed packages add. The one table of them.

A package adds one by an entry point of the group `carillon.channels`: its name, and what it is (`AddedChannel`).

    [project.entry-points."carillon.channels"]
    voice = "voice_calls:CHANNEL"

The names are read from the packages' metadata when a process starts, and nothing changes them while it runs. So all
processes of an installation have the same channels in the same order: Carillon's first, the others by name, the inbox
last. What a channel is, is code of the package; it is loaded when it is first asked for, never while modules load.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import NamedTuple

from state.model.errors import ConfigurationError

GROUP = "carillon.channels"
IN_APP = "in_app"
_OWN = ("push", "sms", "email", "webhook", "chat")
_ADDED_MAX = 3
"""Which channels reach a user is kept in one byte, a bit each."""
_TEXT_LEAST = 240
"""What every channel shows whole: texts of class P0 may be that long."""
_NAME = re.compile(r"[a-z][a-z0-9_]{0,30}")


class AddressKind(NamedTuple):
    """What can be an address. A package's function must give the same on every machine, whatever text it is given."""

    canonical: Callable[[str], str | None]
    """The one form in which an address is stored, compared and sent; None: it is none."""
    form: str
    """For people: `is no ...`, `send a ...`."""
    pattern: str = ""
    """A regular expression of it, for schemas of push tokens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AddedChannel:
    """What a channel of another package is. It interrupts, like all but the inbox, and carries a `PlainContent`."""

    names: Mapping[str, str]
    """What people call it, by language; "en" where there is no other."""
    kinds: Mapping[str, AddressKind] = field(default_factory=dict)
    """Kinds of addresses beside those of `state.model.addresses`. To a provider, one of voice is `voice.NAME`."""
    title_max: int = 0
    """Units of a title that it shows, as `state.model.gsm.units` counts; longer ones are cut. 0: none."""
    text_max: int = 480
    """The same of what is said. Published texts whose shortest form is longer are refused."""
    detail_max: int = 0
    """The same of what is said besides, where the payload has it."""


def _added(points: tuple[EntryPoint, ...]) -> tuple[str, ...]:
    """Names that can be one; of the others `channel_faults` tells."""
    names = {each.name for each in points if _NAME.fullmatch(each.name)}
    return tuple(sorted(names - {*_OWN, IN_APP})[:_ADDED_MAX])


_POINTS = tuple(entry_points(group=GROUP))
ADDED = _added(_POINTS)
"""Those of other packages."""
INTERRUPTIVE = (*_OWN, *ADDED)
"""Those that interrupt: each has a topic of its own, and providers."""
CHANNELS = (*INTERRUPTIVE, IN_APP)
"""All of them."""
CHANNEL_BIT = {name: 1 << place for place, name in enumerate(INTERRUPTIVE)}
"""Of which of them reach a user. Of added ones it changes with what is installed: decide's state names them."""


def channel_faults() -> Iterator[str]:
    """What is wrong with added channels, each with its name and the remedy."""
    for name, count in sorted(Counter(each.name for each in _POINTS).items()):
        if count > 1:
            yield f"channel {name}: two installed packages add it; remove one of them"
        elif name in (*_OWN, IN_APP) or not _NAME.fullmatch(name):
            yield f"channel {name}: it is Carillon's own, or no name; name what the package adds by other small letters"
        elif name not in ADDED:
            yield f"channel {name}: installed packages add more than {_ADDED_MAX} channels; remove one of them"
    try:
        added_kinds()
    except ConfigurationError as error:
        yield str(error)


@cache
def added_channel(name: str) -> AddedChannel:
    """What an added channel is.

    :raises ConfigurationError: what the package names is none.
    """
    point = next(each for each in _POINTS if each.name == name)
    try:
        found = point.load()
    except Exception as error:
        raise ConfigurationError(f"channel {name}: {point.value} cannot be loaded: {type(error).__name__}") from error
    if not isinstance(found, AddedChannel) or "en" not in found.names:
        raise ConfigurationError(f"channel {name}: {point.value} is no AddedChannel with a name in English")
    if found.text_max < _TEXT_LEAST:
        raise ConfigurationError(f"channel {name}: text_max must be {_TEXT_LEAST} or more: it would cut a code")
    return found


@cache
def added_kinds() -> Mapping[str, AddressKind]:
    """Kinds of addresses of all added channels, each behind its channel's name and a dot.

    :raises ConfigurationError: as `added_channel`.
    """
    return {f"{name}.{kind}": found for name in ADDED for kind, found in added_channel(name).kinds.items()}


def channel_name(name: str, language: str) -> str:
    """What people call an added channel; any other goes by its name."""
    names = added_channel(name).names if name in ADDED else {}
    return names.get(language) or names.get("en") or name


def added_versions() -> list[str]:
    """The packages that tell what addresses of added channels are."""
    return [f"{each.dist.name} {each.dist.version}" for each in _POINTS if each.name in ADDED and each.dist is not None]
