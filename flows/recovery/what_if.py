"""`carillon what-if`: a stretch of the decision log decided twice, as it was and under another policy, and the
difference: who would hear more or less, and what each channel would carry.

A policy is tables of types. A type that it does not name stays what it was. P0 is not in this log.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute

from connectors.types import Tables
from flows.recovery.other_types import OtherTypes
from flows.recovery.replay import OnProgress, ReplayOrigin, ReplayRange, replayed_decisions

pc: Any = pyarrow.compute  # its stubs refuse expressions


class HeardBy(NamedTuple):
    """What one user got."""

    notifications: int
    """Those that interrupt, whatever the number of channels and devices."""
    in_app: int
    """Events that entered the inbox."""


class Tally(NamedTuple):
    """What a stretch came to, once decided."""

    decisions: int
    users: dict[str, HeardBy]
    """Of whom something was heard; nobody else."""
    channels: Counter[str]
    """Notifications by channel; one to several devices counts once."""
    outcomes: Counter[str]


class Difference(NamedTuple):
    """The two side by side."""

    was: Tally
    would: Tally
    events: int
    """Records of the types that the policy names."""
    refused: int
    """Of these, whose payload the policy's schema refuses; they are decided all the same."""

    def changes(self) -> list[tuple[str, HeardBy, HeardBy]]:
        """Users who would hear more or less, the greatest loss first and the greatest gain last."""
        nothing = HeardBy(0, 0)
        pairs = [
            (user, self.was.users.get(user, nothing), self.would.users.get(user, nothing))
            for user in self.was.users.keys() | self.would.users.keys()
        ]
        changed = [each for each in pairs if each[1] != each[2]]
        return sorted(changed, key=lambda each: (*_gained(*each[1:]), each[0]))

    def named(self, of: str) -> list[tuple[str, int, int]]:
        """Channels or outcomes, so often as it was and with the policy; the most frequent first."""
        was, would = getattr(self.was, of), getattr(self.would, of)
        names = sorted(was.keys() | would.keys(), key=lambda each: (-max(was[each], would[each]), each))
        return [(name, was[name], would[name]) for name in names]


def what_if(origin: ReplayOrigin, wanted: ReplayRange, policy: Tables, progress: OnProgress) -> Difference:
    """Decide the stretch twice.

    :raises OffsetOutOfRangeError: records of the range, or between the state before it and the range, are missing.
    """
    other = OtherTypes(tuple(policy), lambda then: {**then, **policy})
    was = _tally(replayed_decisions(origin, wanted, progress))
    would = _tally(replayed_decisions(origin, wanted, progress, other))
    return Difference(was, would, other.events, other.refused)


def _gained(was: HeardBy, would: HeardBy) -> HeardBy:
    return HeardBy(would.notifications - was.notifications, would.in_app - was.in_app)


def _tally(table: pa.Table) -> Tally:
    """What was merged into another notification is no notification of its own."""
    told = table.filter((pc.field("outcome") == "EMITTED") & (pc.list_value_length(pc.field("channels")) > 0))
    notified, in_app = _counted(told["user"]), _counted(table.filter(pc.field("inbox"))["user"])
    users = {user: HeardBy(notified[user], in_app[user]) for user in notified.keys() | in_app.keys()}
    reasons = zip(table["outcome"].to_pylist(), table["reason"].to_pylist(), strict=True)
    outcomes = Counter(f"{outcome} {reason or ''}".strip() for outcome, reason in reasons)
    return Tally(len(table), users, _counted(pc.list_flatten(told["channels"])), outcomes)


def _counted(values: Iterable[Any]) -> Counter[str]:
    counts: list[dict[str, Any]] = pc.value_counts(values).to_pylist()
    return Counter({each["values"]: each["counts"] for each in counts})
