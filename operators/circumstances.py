"""What decisions and deliveries used beside their records, and how the sentences on them show it.

What is not known any more is None, and a sentence then shows nothing in its place.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from operators.words import duration_text, list_text, time_text
from state.model.event import Event
from state.model.preference import Preference, compile_preference
from state.model.registry import TypeProfile
from state.model.settings import SwitchOn
from state.model.work import Work

LedgerRow = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What a decision used beside its record; what is no longer known is None."""

    document: Mapping[str, Any] | None = None
    """The preference document; empty where the user had stored none."""
    switches: Sequence[SwitchOn] | None = None
    """The kill switches that were on, as far as `control` still tells."""
    profile: TypeProfile | None = None
    """The type's entry in the registry that decided; None: another registry is in force now."""
    event: Event | None = None
    cause: Work | None = None
    """The record of the decision log that brought the outcome about; None where P0 was decided."""
    urgent: bool = False
    """Decided by transactional, whose versions are places in the topics of the settings."""

    @property
    def ahead(self) -> int:
        """By how many ms the time of decisions was ahead of the machine's clock, as far as is known."""
        return 0 if self.cause is None else self.cause.ahead

    @property
    def preference(self) -> Preference:
        """The document with its defaults."""
        return compile_preference(self.document or {})


def stopped_text(found: Sequence[SwitchOn], used: Circumstances) -> str:
    """Which switches stopped it."""
    if not found:
        return "a kill switch was on, which was changed since"
    return f"a kill switch was on: {list_text([switch_text(switch, used) for switch in found])}"


def switch_text(switch: SwitchOn, used: Circumstances) -> str:
    """What a switch stopped, since when, by whom and why."""
    what = "everything" if switch.scope == "all" else f"{switch.scope} {switch.value}"
    by = "" if switch.by is None else f" by {switch.by}"
    why = "" if switch.reason is None else f" ({switch.reason})"
    return f"{what} was stopped at {when_text(switch.since_ms, used)}{by}{why}"


def limit_text(used: Circumstances) -> str:
    """The time to live."""
    return "its time to live" if used.event is None else f"its time to live of {duration_text(used.event.ttl_ms)}"


def when_text(instant_ms: int | None, used: Circumstances) -> str:
    """A time in the user's zone."""
    return time_text(instant_ms, used.preference.zone)
