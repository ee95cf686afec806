"""What a decision leaves behind, before it is written: decisions, emissions and inbox operations."""

from typing import Any

import msgspec

from state.model.delivery import ChannelAddresses, Withdrawal
from state.model.event import Event
from state.model.inbox import InboxOperation
from state.model.ledger import Decision
from state.model.preference import QuietRange


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


class Outputs:
    """Everything that applying one record of the decision log produced, in order."""

    __slots__ = ("decisions", "emissions", "inbox", "slices", "withdrawals")

    def __init__(self) -> None:
        self.decisions: list[Decision] = []
        self.emissions: list[Emission] = []
        self.inbox: list[InboxOperation] = []
        self.withdrawals: list[Withdrawal] = []
        self.slices: list[Any] = []
        """`operators.bulk.Slice`: recipients decided together."""
