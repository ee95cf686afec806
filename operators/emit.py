"""Rule E at the moment of emission: one notification for the pending items, or why there is none (RULES 3.E)."""

from collections.abc import Sequence

from operators.context import OutcomeWriter, decision
from operators.gate import in_slot
from operators.outcomes import FinalOutcome
from operators.route import ChannelRoute, given_address, route, slow_mail
from state.decide.group import GroupState
from state.decide.pending import Item
from state.model.delivery import ChannelAddresses, DeviceAddress
from state.model.event import Event
from state.model.keys import emission_base
from state.model.records import Emission
from state.model.registry import TypeProfile

DIGEST_TYPE = "digest"
MAIL_ALONE = ("email",)


def no_channel(item: Item, *, killed: bool) -> FinalOutcome:
    """How an item ends when nothing is left: INBOX if it has its row, else SUPPRESSED."""
    if item.inbox:
        return FinalOutcome("INBOX", None)
    return FinalOutcome("SUPPRESSED", "kill_switch" if killed else "no_channel")


def route_first(state: GroupState, row: int, items: Sequence[Item]) -> ChannelRoute:
    """The route of the first pending item."""
    event = items[0].event
    return route(state, row, event, state.registry.profile(event.type))


def waits_as_mail(profile: TypeProfile, event: Event, chosen: tuple[str, ...], *, in_row: bool) -> bool:
    """Whether the channel so found is an email that waits: for the digest, or for its row to be read."""
    return chosen == MAIL_ALONE and slow_mail(profile, event) and (profile.digest or in_row)


def actors_of(items: Sequence[Item]) -> list[str]:
    """Distinct actors, not null, in the order of arrival."""
    return list(dict.fromkeys(item.event.actor for item in items if item.event.actor is not None))


def _addresses(state: GroupState, row: int, event: Event, channels: Sequence[str]) -> tuple[ChannelAddresses, ...]:
    if event.to is not None:
        return tuple(
            ChannelAddresses(c, (DeviceAddress("to", None, given_address(state, event, c), event.ingested_at),))
            for c in channels
        )
    return tuple(ChannelAddresses(c, state.users.devices(row, c)) for c in channels)


def emission_of(
    state: GroupState, row: int, items: Sequence[Item], found: ChannelRoute, now: int, *, first: bool, digest: bool
) -> Emission:
    """The notification for `items`; `first` when the group was closed before."""
    event = items[0].event
    profile = state.registry.profile(event.type)
    user, locale_name = state.users.ids[row], state.users.profiles.get(row, (None, None))
    type_name, object_id = (DIGEST_TYPE, None) if digest else (event.type, event.object)
    actors = actors_of(items)
    return Emission(
        emission_id=emission_base(type_name, object_id, event.event_id) + state.users.tag_hex(row),
        first_event_id=event.event_id,
        user=user,
        type=type_name,
        object=object_id,
        count=len(items),
        actors=actors[:3],
        actor_count=len(actors),
        first=first,
        channels=list(found.chosen),
        devices=_addresses(state, row, event, found.chosen),
        rest=_addresses(state, row, event, found.rest),
        policy=profile.policy,
        decided_at=now,
        valid_until=max(valid_until(state, item) for item in items),
        event=event,
        items=[item.event for item in items],
        category=profile.category,
        locale=event.draft.locale if event.draft else locale_name[0],
        name=locale_name[1],
        quiet=state.users.preference_of(row).quiet,
    )


def valid_until(state: GroupState, item: Item) -> int:
    """The last instant at which the item is still in time, if it waits no more for its user (RULES 3.A.2)."""
    waited = 0 if state.registry.profile(item.event.type).absolute_ttl else item.waited_ms
    return item.event.in_time_until + waited


def emit(
    writer: OutcomeWriter,
    row: int,
    items: Sequence[Item],
    found: ChannelRoute,
    now: int,
    *,
    group: str,
    first: bool,
    digest: bool = False,
) -> None:
    """Write the emission, count it unless it is P0 (RULES 3.D), and end its items as EMITTED and MERGED."""
    state, out = writer.state, writer.out
    emission = emission_of(state, row, items, found, now, first=first, digest=digest)
    out.emissions.append(emission)
    state.totals.emitted += emission.deliveries
    if items[0].event.priority != "P0" or digest:
        counted = state.pool(slot=not digest and in_slot(items))
        counted.reserve_rows(row + 1)
        counted.add(row, now)
    for position, item in enumerate(items):
        record = decision(state, row, item, "MERGED" if position else "EMITTED", now, group)
        record.emission_id = emission.emission_id
        record.channels = emission.channels
        record.reason = found.reason
        out.decisions.append(record)
