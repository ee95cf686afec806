"""The contract of everything that hands a message to a provider (RULES 4).

A channel is connected once, checked, used by many sends at the same time, and closed. `send` never raises for what a
provider or a network does: the answer is one of four results. Exceptions are for programmer errors only. Each provider
splits a pure `build_request(delivery)` and a pure `parse_response(response)` from the transport between them.

Laws, kept by every channel (tests/connectors/providers):

- The provider-side id depends on the delivery key alone, so a resend carries the same one.
- `Failed.ambiguous` is true whenever the provider may have taken the message: some byte of it may have been read, and
  no answer was. It is false only if it certainly did not.
- A `send` ends within the channel's deadline, whatever the provider does.
- No address, token or content is in any result.
- What cannot even be put into the provider's form raises UnsendableError, before the first byte.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from types import TracebackType
from typing import Protocol

from msgspec import Struct

from state.model.content import Content
from state.model.dead_letter import error_text
from state.model.errors import CarillonError, UnsendableError


@dataclass(slots=True)
class Delivery:
    """One message for one device or address: one attempt of it. Times are milliseconds UTC.

    Nobody changes it; to freeze it would make it five times as dear, and there is one for each try.
    """

    key: str
    """`emission_id/user/channel/device`: what is sent once (RULES 4)."""
    attempt: int
    """1 for the first, counted over crashes."""
    provider_id: str
    """What `Channel.provider_id` made of the key."""
    user: str
    channel: str
    device: str
    platform: str | None
    address: str
    """Token, phone number or mail address; never in a log line."""
    registered_at: int
    """When the address was registered: a provider's verdict holds only if it is not older."""
    content: Content
    priority: str
    """P0, P1 or P2."""
    expires_at: int
    """After this the provider must not show it any more."""
    collapse: str | None = None
    """Notifications with the same value replace each other on the screen; at most 64 bytes."""
    first_event_id: str = ""
    """The event that began the emission, for what is heard of it later."""
    may_go: Callable[[], bool] | None = None
    """Whether it still may, for a channel in which it waited: what was looked at before `send` is a second old then.
    Asked on the event loop. None: nothing can have changed.
    """


class Sent(Struct, frozen=True):
    """The provider took it."""

    provider_id: str
    """The provider's own name for it, or ours where it gives none."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """The provider will never take this message for this address."""

    reason: str
    token_gone: int | None = None
    """The address is dead as of this time (milliseconds): retire it unless it was registered later."""


@dataclass(frozen=True, slots=True)
class Throttled:
    """The provider asks to come back later; it did not take the message."""

    retry_after: timedelta | None = None
    reason: str = "throttled"
    of_address: bool = False
    """It concerns this address alone, and says nothing of the provider."""


@dataclass(frozen=True, slots=True)
class Failed:
    """It did not work."""

    cause: str
    retryable: bool = True
    ambiguous: bool = False
    """The provider may have taken it all the same."""
    retry_after: timedelta | None = None
    of_address: bool = False
    """It concerns this address alone, and says nothing of the provider."""
    of_credential: bool = False
    """The provider refuses our credential or our account, so it would refuse every message."""


Result = Sent | Rejected | Throttled | Failed


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What `check` found, for `carillon check`; `detail` is safe to print."""

    ok: bool
    detail: str


class Channel(Protocol):
    """One provider with one credential. All coroutines run on one event loop."""

    name: str
    """The provider's name in attempts and on the ledger."""

    def provider_id(self, key: str) -> str:
        """Give the id under which the provider knows the message with this delivery key."""
        ...

    async def connect(self) -> None:
        """Open what can be opened ahead of the first send; a provider that is down is no error here."""
        ...

    async def check(self) -> CheckResult:
        """Reach the provider and say whether it would take messages from this credential; sends nothing."""
        ...

    async def send(self, delivery: Delivery) -> Result:
        """Hand over one message and wait for the answer, at most for the channel's deadline."""
        ...

    async def close(self) -> None:
        """Free all connections. Sends in progress end as ambiguous failures."""
        ...


class building:  # noqa: N801 - a context is named like a function
    """Around `build_request`: whatever a message makes it raise, nothing was sent.

    :raises UnsendableError: in place of any error that is not ours; it names class and place, never content.
    """

    __slots__ = ()

    def __enter__(self) -> None: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, Exception) and not isinstance(error, CarillonError | MemoryError):
            raise UnsendableError(error_text(error)) from error
