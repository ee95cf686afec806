"""One event to many that goes in parts (RULES 1, `rollout`): a campaign whose chunks are percents of all hashes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from msgspec import UNSET
from msgspec.structs import replace

from state.model.campaign import (
    CampaignAct,
    CampaignAudience,
    CampaignOrder,
    CampaignText,
    campaign_key,
    chunk_event_id,
    rollout_name,
)
from state.model.event import Event, RolloutPart, RolloutPlan
from state.schedule.campaign import Campaign


@dataclass(slots=True)
class Rollout(Campaign):
    """An event to many that goes in parts (RULES 1). Nobody approves it; its chunks are percents of all hashes."""

    event: Event = field(kw_only=True)
    begins: list[str] = field(default_factory=list)
    """The ids of its begins, of which the first counted."""
    acts: list[str] = field(default_factory=list)
    """The ids of all other acts on it, also of those that did not count."""
    changed_at: int = 0

    @property
    def plan(self) -> RolloutPlan:
        """The event's; only those that have one begin (`CampaignBook.refusal`)."""
        assert self.event.rollout is not UNSET
        return self.event.rollout

    @property
    def ends(self) -> Sequence[int]:
        """At which percent each part ends."""
        return self.plan.stages if self.plan.spread_ms is None else range(1, 101)

    @property
    def percent(self) -> int:
        """How much of it has gone."""
        return self.ends[len(self.ordered) - 1] if self.ordered else 0

    def part(self, number: int) -> RolloutPart:
        """Whom a part goes to."""
        begin = self.ends[number - 1] if number else 0
        return RolloutPart(chunk_event_id(self.name, 0, number), begin, self.ends[number])

    def next_at(self) -> int | None:
        """When the next part may go, or since when; None: not before somebody says so, or never."""
        if self.state != "running" or self.is_done:
            return None
        at = max(self.start_at or 0, int(self.free_at))
        if len(self.ordered) < self.stage_chunks[self.stage]:
            return at
        return None if self.hold_ms is None else max(at, max(self.ordered.values()) + self.hold_ms)

    def refusal(self, act: CampaignAct) -> str | None:
        """What cancels it need not have seen what others did."""
        if act.verb not in ("create", "pause", "resume", "advance", "cancel"):
            return "a fan-out in stages can be advanced, paused, resumed and cancelled"
        return Campaign.refusal(self, replace(act, revision=self.revision) if act.verb == "cancel" else act)

    def take(self, act: CampaignAct) -> None:
        """An act that counts."""
        Campaign.take(self, act)
        self.note(act)
        self.changed_at = act.at

    def note(self, act: CampaignAct) -> None:
        """Its record is in the topic."""
        (self.begins if act.verb == "create" else self.acts).append(act.id)

    def loses(self, act_id: str) -> bool:
        """The record of an act goes from the topic; whether no begin is left."""
        self.begins = [each for each in self.begins if each != act_id]
        return not self.begins

    def count(self, order: CampaignOrder, recipients: int) -> None:
        """A part goes; the next one comes not before its share of the time is over."""
        Campaign.count(self, order, recipients)
        self.free_at += (self.plan.spread_ms or 0) // 100
        self.changed_at = order.at

    def record_keys(self) -> Iterator[bytes]:
        """Of its records. Its begins are the first, since without them the others say nothing; and of them the one that
        counted is the last, so that no other is left to count behind what was done.
        """
        yield from (campaign_key(self.name, "act", each) for each in (*reversed(self.begins), *self.acts))
        orders = (*self.ordered, len(self.ordered))  # the next part may have been ordered in vain
        yield from (campaign_key(self.name, kind, 0, each) for kind in ("order", "chunk") for each in orders)


def begun_rollout(event: Event, plan: RolloutPlan, at: int) -> Rollout:
    """An event with this plan, whose parts go from then on or, if it is for later, from its `deliver_at` on."""
    spread = plan.spread_ms is not None
    ends = plan.stages if spread else [place + 1 for place in range(len(plan.stages))]
    audience = CampaignAudience(0, ends[-1], 100, stages=plan.stages, stage_chunks=ends)
    return Rollout(
        rollout_name(event.event_id), CampaignText(event.type), event.sender_id, at, state="running",
        audience=audience, start_at=max(at, event.deliver_at or 0), hold_ms=plan.hold_ms, event=event,
    )  # fmt: skip
