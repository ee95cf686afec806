"""P0 decided by the same rules as everything else (RULES 3), one event at a time and for its one recipient.

P0 keeps no state of a key group: nothing aggregates, waits or is counted. So a fresh state is made for each event, with
the settings of its recipient alone, and the operators of decide run over it. Settings and time are arguments.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

from operators.decide import apply, apply_setting
from state.decide.group import GroupState
from state.model.addresses import Served
from state.model.errors import MalformedRecordError
from state.model.event import Event
from state.model.load import AWAY
from state.model.records import Outputs
from state.model.registry import Registry
from state.model.work import EventWork, KillWork, Work

HURRY_MS = 10_000
"""push_first: the text message follows when no provider took the push within this time (RULES 3.E)."""


class CurrentSetting(NamedTuple):
    """Something that is true now; `place` is its offset in its topic."""

    work: Work
    place: int


def recipient_of(event: Event) -> str:
    """The recipient.

    :raises MalformedRecordError: the event is not one that this flow may decide.
    """
    if event.priority != "P0":
        raise MalformedRecordError("event.priority: only P0 belongs into events.p0")
    if event.fan_out_type != "DIRECT" or event.target is None:
        raise MalformedRecordError("event.fan_out_type: a P0 event goes to one person, its target")
    return event.target


def decide_p0(
    event: Event,
    user: str,
    settings: Iterable[CurrentSetting],
    switches: Mapping[tuple[str, str], int],
    *,
    registry: Registry,
    served: Served | None,
    away: Collection[str] = (),
    now: int,
    place: int,
) -> Outputs:
    """Decision, emission and inbox operations for one event.

    `settings` are the recipient's; `switches` the kill switches that are on, with their offsets in `control`; `away`
    is what `first` passes over; `place` is the event's own offset.
    """
    state = GroupState(registry)
    state.users.served = served
    for setting in settings:
        state.place = setting.place
        apply_setting(state, setting.work)
    for (scope, value), offset in sorted(switches.items(), key=lambda item: item[1]):
        state.place = offset
        apply_setting(state, KillWork(stamp=now, scope=scope, value=value or None))
    for name in away:
        apply_setting(state, KillWork(stamp=now, scope=AWAY, value=name))
    return apply(state, EventWork(stamp=now, event=event, users=[user]), place)
