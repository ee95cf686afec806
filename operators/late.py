"""May a delivery still be sent, by what became true since its emission (RULES 3.A, 3.B, 3.D.1, 3.F)?

Decide's word counts for what did not change. Here only what did change is asked again, for one channel of one emission:
the user's document, and what was taken back. Caps are not: the emission is counted already.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from msgspec import UNSET
from msgspec.structs import replace

from operators.outcomes import FinalOutcome, Hold
from operators.quiet import is_quiet, quiet_end
from operators.route import ordered_channels, type_enabled
from state.model.delivery import ToDeliver
from state.model.preference import Preference, QuietRange, compile_preference, muted_names
from state.model.registry import Registry, TypeProfile

RETRACTED = FinalOutcome("SUPPRESSED", "retracted")
_OF_OBJECT, _ACTORS_MAX = frozenset({"object_label", "url"}), 3
GIVEN_ADDRESS = "to"
"""The id of an address that the event itself names: no setting of the user concerns it."""


class EmittedEvent(NamedTuple):
    """One event of an emission, as far as its record tells."""

    event_id: str
    type: str
    object: str | None
    actor: str | None


def sent_items(emission: ToDeliver) -> list[EmittedEvent] | None:
    """Its events; None where the record does not name all of them."""
    if emission.digest_items is not None:
        items = [EmittedEvent(item.event_id, item.type, item.object, item.actor) for item in emission.digest_items]
    elif emission.items is not UNSET:
        items = [EmittedEvent(event_id, emission.type, emission.object, actor) for event_id, actor in emission.items]
    else:
        actor = emission.actors[0] if emission.actors else None
        items = [EmittedEvent(emission.first_event_id, emission.type, emission.object, actor)]
    return items if len(items) == emission.count else None


def is_retracted(emission: ToDeliver, takes_back: Callable[[EmittedEvent], bool]) -> bool:
    """Whether all of its events were taken back since (RULES 3.F)."""
    items = sent_items(emission)
    return bool(items) and all(takes_back(item) for item in items or ())


def remaining_items(
    items: Sequence[tuple[str, str | None]], actor: str | None, parent_event_id: str | None
) -> tuple[tuple[str, str | None], ...]:
    """Those of the items (event_id, actor) of one type and object that a retraction leaves (RULES 3.F)."""
    return tuple(each for each in items if each[1] != actor or parent_event_id not in (None, each[0]))


def with_items(emission: ToDeliver, left: Sequence[tuple[str, str | None]]) -> ToDeliver:
    """What it says when these of its items are left (RULES 3.F). Of a first one that is gone, only what is true of all
    stays of its payload.
    """
    items = () if emission.items is UNSET else emission.items
    names = dict(zip(items, () if emission.names is UNSET else emission.names, strict=False))
    payload = emission.payload
    if left[0] != items[0]:
        payload = {key: value for key, value in (payload or {}).items() if key in _OF_OBJECT}
        payload |= {"actor_name": name} if (name := names.get(left[0])) else {}
    actors = tuple(dict.fromkeys(actor for _, actor in left if actor is not None))
    return replace(
        emission, count=len(left), actors=actors[:_ACTORS_MAX], actor_count=len(actors), first_event_id=left[0][0],
        payload=payload, items=tuple(left) if len(left) > 1 else UNSET, names=UNSET,
    )  # fmt: skip


def changed_outcome(
    emission: ToDeliver, channel: str, document: Mapping[str, Any], registry: Registry, now: int
) -> FinalOutcome | Hold | None:
    """What the user's present document says of it; None lets it go."""
    preference = compile_preference(document)
    stops = [
        _item_stop(emission, channel, registry.profile(type_name), preference, document, actors)
        for type_name, actors in _types_of(emission)
    ]
    first = stops[0]
    if first is not None and all(stop is not None for stop in stops):
        return first
    return quiet_outcome(preference.quiet, emission.priority, now)


def quiet_outcome(quiet: QuietRange | None, priority: str, now: int) -> FinalOutcome | Hold | None:
    """Quiet hours that began (RULES 3.D.1)."""
    if priority == "P0" or quiet is None or not is_quiet(quiet, now):
        return None
    return FinalOutcome("SUPPRESSED", "quiet_hours") if priority == "P2" else Hold(quiet_end(quiet, now), own_wait=True)


def _types_of(emission: ToDeliver) -> Sequence[tuple[str, Sequence[str]]]:
    if emission.digest_items is None:
        return [(emission.type, emission.actors if emission.actor_count <= len(emission.actors) else ())]
    return [(item.type, (item.actor,) if item.actor else ()) for item in emission.digest_items]


def _item_stop(
    emission: ToDeliver,
    channel: str,
    profile: TypeProfile,
    preference: Preference,
    document: Mapping[str, Any],
    actors: Sequence[str],
) -> FinalOutcome | None:
    """RULES 3.A.4 to 3.A.6, then 3.B."""
    urgent = emission.priority == "P0"
    if not preference.master and not urgent:
        return FinalOutcome("SUPPRESSED", "master_off")
    if not profile.mandatory and not type_enabled(preference, profile):
        return FinalOutcome("SUPPRESSED", "type_off")
    if not urgent and not profile.mandatory and _is_muted(emission, document, actors):
        return FinalOutcome("SUPPRESSED", "muted")
    if channel not in ordered_channels(preference, profile):
        return FinalOutcome("SUPPRESSED", "no_channel")
    return None


def _is_muted(emission: ToDeliver, document: Mapping[str, Any], actors: Sequence[str]) -> bool:
    muted = muted_names(document, "actors")
    return emission.object in muted_names(document, "objects") or (bool(actors) and muted.issuperset(actors))
