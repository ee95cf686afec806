"""Which records of the decision log an accepted record becomes (DECISIONS, Sequence writes the log): one per key group
concerned, and one for an event that concerns nobody.
"""

from collections.abc import Iterable, Iterator

import msgspec

from state.model.event import Event
from state.model.keys import HASH_END, key_group
from state.model.work import EventWork, FollowWork, SegmentWork, SliceWork, Work
from state.sequence.placement import ALL_GROUPS, Placement, groups_in

Members = dict[int, list[str]]
"""Users by key group."""


def plan_event(placement: Placement, event: Event, stamp: int, planned: int | None = None) -> Iterable[Work]:
    """The target's group, or those of the recipients that a campaign's event names, or a slice for each group where the
    audience may have someone, as was `planned` before.
    """
    if event.fan_out_type != "DIRECT":
        return _plan_many(placement, event, stamp, planned)
    if event.target is None:
        return []
    return [EventWork(g=key_group(event.target), stamp=stamp, event=event, users=[event.target])]


def _plan_many(placement: Placement, event: Event, stamp: int, planned: int | None) -> Iterator[Work]:
    if event.recipients is not msgspec.UNSET:
        bare = msgspec.structs.replace(event, recipients=msgspec.UNSET)
        for group, users in members_by_group(event.recipients).items():
            yield EventWork(g=group, stamp=stamp, event=bare, users=users)
        return
    groups = _audience_groups(placement, event) if planned is None else planned
    plan = f"{groups:x}"
    for group in groups_in(groups):
        yield _slice(event, group, stamp, plan)


def _slice(event: Event, group: int, stamp: int, plan: str) -> SliceWork:
    """Of a part of a rollout, its stretch of all hashes (RULES 1)."""
    if event.part is msgspec.UNSET:
        return SliceWork(g=group, stamp=stamp, event=event, plan=plan)
    begin, end = (str(percent * HASH_END // 100) for percent in (event.part.begin, event.part.end))
    return SliceWork(g=group, stamp=stamp, event=event, hash_from=begin, hash_to=end, plan=plan)


def plan_for_nobody(event: Event, stamp: int) -> SliceWork:
    """For an event whose audience is in no group: the slice of a group in which decide finds nobody (RULES 2: no
    recipient, no record). So the log says of every event that was accepted that it was, and to whom it went: whoever
    loses its state and reads the log again neither sends it to people who came later, nor accepts a repeat of it.
    """
    group = key_group(event.segment or event.actor or event.event_id)
    return _slice(event, group, stamp, f"{1 << group:x}")


def _audience_groups(placement: Placement, event: Event) -> int:
    if event.fan_out_type == "FOLLOWERS":
        return placement.followees.of(event.actor)
    if event.fan_out_type == "SEGMENT":
        return placement.segments.of(event.segment)
    return ALL_GROUPS if event.fan_out_type == "BROADCAST" else 0


def place_follow(placement: Placement, follow: FollowWork) -> None:
    """From here on the followee's fan-outs reach the follower's group."""
    if follow.on and follow.g is not None:
        placement.followees.add(follow.followee, follow.g)


def plan_segment(placement: Placement, segment: str, users: list[str], stamp: int) -> Iterator[Work]:
    """Each group's members; groups that had members before and have none now learn it too."""
    members = members_by_group(users)
    records = segment_records(placement, segment, members, stamp)
    place_segment(placement, segment, members)
    yield from records


def members_by_group(users: Iterable[str]) -> Members:
    """Users by key group, each once, in the order given."""
    members: Members = {}
    for user in dict.fromkeys(users):
        members.setdefault(key_group(user), []).append(user)
    return members


def segment_records(placement: Placement, segment: str, members: Members, stamp: int) -> list[SegmentWork]:
    """What `plan_segment` gives, before it counts."""
    groups = sorted({*groups_in(placement.segments.of(segment)), *members})
    return [SegmentWork(g=group, stamp=stamp, segment=segment, users=members.get(group, [])) for group in groups]


def place_segment(placement: Placement, segment: str, members: Members) -> None:
    """From here on the segment's fan-outs reach exactly the groups of its members."""
    placement.segments.replace(segment, members)
