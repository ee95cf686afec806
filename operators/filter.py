"""Rule A: who is not told, whatever the channel (RULES 3.A)."""

from operators.outcomes import SHED, FinalOutcome
from operators.route import type_enabled
from state.decide.group import GroupState
from state.decide.pending import Item
from state.decide.users import NO_MUTES
from state.model.event import Event
from state.model.load import SHED_BELOW_TTL_MS
from state.model.registry import TypeProfile


def event_outcome(
    state: GroupState, event: Event, profile: TypeProfile, now: int, waited_ms: int
) -> FinalOutcome | None:
    """A.1 and A.2, which need no user: kill switches and the ttl (equal is still in time); then the load (RULES 1)."""
    switched = bool(state.kills.active)
    if switched and state.kills.stops(event):
        return FinalOutcome("SUPPRESSED", "kill_switch")
    if now - (0 if profile.absolute_ttl else waited_ms) > event.in_time_until:
        return FinalOutcome("EXPIRED", None)
    if switched and state.kills.under_load and event.priority != "P0" and event.ttl_ms < SHED_BELOW_TTL_MS:
        return SHED
    return None


def user_outcome(state: GroupState, row: int, event: Event, profile: TypeProfile) -> FinalOutcome | None:
    """A.3 to A.6: self, master switch, type switch, mutes."""
    urgent = event.priority == "P0"
    if event.actor is not None and event.actor == state.users.ids[row] and not profile.notify_self:
        return FinalOutcome("SUPPRESSED", "self")
    preference = state.users.preference_of(row)
    if not preference.master and not urgent:
        return FinalOutcome("SUPPRESSED", "master_off")
    if not profile.mandatory and not type_enabled(preference, profile):
        return FinalOutcome("SUPPRESSED", "type_off")
    if state.users.mutes and not urgent and not profile.mandatory and is_muted(state, row, event):
        return FinalOutcome("SUPPRESSED", "muted")
    return None


def is_muted(state: GroupState, row: int, event: Event) -> bool:
    """Whether the user muted the actor or the object."""
    mutes = state.users.mutes.get(row, NO_MUTES)
    return event.actor in mutes.actors or event.object in mutes.objects


def filter_item(state: GroupState, row: int, item: Item, now: int) -> FinalOutcome | None:
    """Rule A for one item; None lets it pass."""
    profile = state.registry.profile(item.event.type)
    return event_outcome(state, item.event, profile, now, item.waited_ms) or user_outcome(
        state, row, item.event, profile
    )
