"""The values the pipeline moves about: items, groups, inbox rows, users."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from reference.events import Event


@dataclass(slots=True, eq=False)
class Item:
    """One (event, recipient) and its decision record so far (RULES 5)."""

    event: Event
    user: str
    outcome: str = ""
    decided_at: int = -1
    reason: str | None = None
    until: int | None = None
    emission_id: str | None = None
    channels: list[str] = field(default_factory=list)
    inbox: bool = False
    cap_hour: int | None = None
    cap_day: int | None = None
    waited: int = 0
    quiet_since: int | None = None
    mail_since: int | None = None
    group: Group | None = None
    row: Row | None = None
    row_number: int = -1

    def decide(self, outcome: str, now: int, *, reason: str | None = None, until: int | None = None) -> None:
        """The outcome changes now."""
        self.outcome, self.decided_at, self.reason, self.until = outcome, now, reason, until

    def record(self) -> dict[str, Any]:
        """The decision line of a simulation."""
        return {
            "kind": "decision",
            "event_id": self.event.event_id,
            "user": self.user,
            "outcome": self.outcome,
            "reason": self.reason,
            "inbox": self.inbox,
            "emission_id": self.emission_id,
            "channels": list(self.channels),
            "decided_at": self.decided_at,
            "until": self.until,
            "cap_hour": self.cap_hour,
            "cap_day": self.cap_day,
        }


@dataclass(slots=True, eq=False)
class Group:
    """An open or held group; `kind` is window, single (one item of a type without a window), digest or unread.

    `place` is the log position of the event that found it closed (RULES 6).
    """

    kind: str
    user: str
    place: int
    name: tuple[str, str | None]
    state: str = "closed"
    due: int = -1
    timer: int = -1
    quiet: bool = False
    pending: list[Item] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class Row:
    """One inbox row (RULES 3.G); `items` are those left, in the order in which they joined."""

    user: str
    type: str
    object: str | None
    first_event_id: str
    items: list[Item] = field(default_factory=list)
    joined: int = 0
    read: bool = False
    archived: bool = False

    def at(self) -> int:
        return self.items[-1].event.ingested_at

    def actors(self) -> list[str]:
        """The three latest distinct, newest first, among the last 1,000 that joined."""
        exact = [item.event.actor for item in self.items[-1000:] if item.row_number >= self.joined - 1000]
        return distinct_actors(exact[::-1])

    def record(self) -> dict[str, Any]:
        """The inbox line of a simulation."""
        return {
            "kind": "inbox",
            "user": self.user,
            "type": self.type,
            "object": self.object,
            "first_event_id": self.first_event_id,
            "count": len(self.items),
            "actors": self.actors(),
            "at": self.at(),
        }


@dataclass(slots=True)
class User:
    """What the pipeline remembers of one user."""

    groups: dict[tuple[str, str | None], Group] = field(default_factory=dict)
    digest: Group | None = None
    unread_mails: dict[tuple[str, str | None], Group] = field(default_factory=dict)
    pending: dict[Item, None] = field(default_factory=dict)
    counted: list[int] = field(default_factory=list)
    counted_in_slots: list[int] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    unread: dict[tuple[str, str | None], Row] = field(default_factory=dict)
    in_rows: dict[tuple[str, str | None, str | None], list[Item]] = field(default_factory=dict)


def distinct_actors(actors: list[str | None]) -> list[str]:
    """The first three distinct actors that are not null."""
    return [actor for actor in dict.fromkeys(actors) if actor is not None][:3]
