"""What a decision leaves behind: ledger records, emissions and inbox operations (RULES 5, TOPICS.md)."""

from typing import Any

import msgspec

from state.model.delivery import ChannelAddresses
from state.model.event import Event
from state.model.preference import QuietRange


class Decision(msgspec.Struct, kw_only=True):
    """The last change of outcome for one (event, user); times in ms UTC, `cap_*` counted emissions before."""

    kind: str = "decision"
    event_id: str
    user: str
    outcome: str
    reason: str | None = None
    inbox: bool = False
    emission_id: str | None = None
    channels: list[str] = []
    decided_at: int
    until: int | None = None
    cap_hour: int | None = None
    cap_day: int | None = None
    type: str = ""
    priority: str = ""
    sender_id: str = ""
    actor: str | None = None
    object: str | None = None
    ingested_at: int = 0
    group: str | None = None
    preference_version: int = -1
    endpoint_version: int = -1
    control_version: int = -1
    registry_version: int = 0
    tzdata_version: str = ""
    follower_age_ms: int | None = None


class Emission(msgspec.Struct, kw_only=True):
    """One notification for all `items`: what the deliver lanes need of it, addresses included.

    `devices` is parallel to `channels`; `rest` are the allowed channels that E did not choose, in order.
    """

    emission_id: str
    first_event_id: str
    user: str
    type: str
    object: str | None
    count: int
    actors: list[str]
    actor_count: int
    first: bool
    channels: list[str]
    devices: tuple[ChannelAddresses, ...]
    rest: tuple[ChannelAddresses, ...]
    policy: str
    decided_at: int
    valid_until: int
    event: Event
    items: list[Event]
    category: str
    locale: str | None
    name: str | None
    quiet: QuietRange | None

    @property
    def deliveries(self) -> int:
        """Number of (channel, device) pairs."""
        return sum(len(entry.devices) for entry in self.devices)


class InboxOperation(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One operation on the user's rows (TOPICS.md, `inbox`)."""

    op: str
    user: str
    type: str | None = None
    object: str | None = None
    actor: str | None = None
    event_id: str | None = None
    windowed: bool = False
    at: int | None = None
    place: int | None = None
    parent_event_id: str | None = None
    up_to: int | None = None
    priority: str | None = None
    payload: dict[str, Any] | None = None


class Outputs:
    """Everything that applying one record of the decision log produced, in order."""

    __slots__ = ("decisions", "emissions", "inbox", "slices")

    def __init__(self) -> None:
        self.decisions: list[Decision] = []
        self.emissions: list[Emission] = []
        self.inbox: list[InboxOperation] = []
        self.slices: list[Any] = []
        """`operators.bulk.Slice`: recipients decided together."""
