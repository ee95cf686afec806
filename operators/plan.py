"""Which records of the decision log an accepted record becomes (DESIGN 2.2): one per key group concerned."""

from collections.abc import Iterator

from state.model.event import Event
from state.model.keys import key_group
from state.model.work import EventWork, FollowWork, KillWork, SegmentWork, SliceWork, Work
from state.placement import ALL_GROUPS, Placement, groups_in


def plan_event(placement: Placement, event: Event, stamp: int, planned: int | None = None) -> Iterator[Work]:
    """The target's group, or a slice for each group where the audience may have someone, as was `planned` before."""
    if event.fan_out_type == "DIRECT":
        if event.target is not None:
            yield EventWork(g=key_group(event.target), stamp=stamp, event=event, users=[event.target])
        return
    groups = _audience_groups(placement, event) if planned is None else planned
    plan = f"{groups:x}"
    for group in groups_in(groups):
        yield SliceWork(g=group, stamp=stamp, event=event, plan=plan)


def _audience_groups(placement: Placement, event: Event) -> int:
    if event.fan_out_type == "FOLLOWERS":
        return placement.followees.of(event.actor)
    if event.fan_out_type == "SEGMENT":
        return placement.segments.of(event.segment)
    return ALL_GROUPS if event.fan_out_type == "BROADCAST" else 0


def plan_follow(placement: Placement, follow: FollowWork) -> Iterator[Work]:
    """The follower's group."""
    if follow.on and follow.g is not None:
        placement.followees.add(follow.followee, follow.g)
    yield follow


def plan_segment(placement: Placement, segment: str, users: list[str], stamp: int) -> Iterator[Work]:
    """Each group's members; groups that had members before and have none now learn it too."""
    members: dict[int, list[str]] = {}
    for user in dict.fromkeys(users):
        members.setdefault(key_group(user), []).append(user)
    for group in groups_in(placement.segments.replace(segment, members)):
        yield SegmentWork(g=group, stamp=stamp, segment=segment, users=members.get(group, []))


def plan_kill(scope: str, value: str | None, stamp: int, *, on: bool) -> Iterator[Work]:
    """Every group."""
    yield KillWork(stamp=stamp, scope=scope, value=value, on=on)
