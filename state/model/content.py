"""What a person gets to see, rendered for one channel. Plain values: connectors carry them, operators make them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_LINK = re.compile(r"https?://[^\s\x00-\x1f\x7f]{1,1000}")
"""Short enough to leave room for words in a push of 4 096 bytes."""


def link_of(payload: Mapping[str, Any] | None) -> str | None:
    """The payload's `url` if it is a web address of at most 1 008 characters: nothing else may become a link."""
    url = (payload or {}).get("url")
    return url if isinstance(url, str) and _LINK.fullmatch(url) else None


@dataclass(frozen=True, slots=True)
class PushContent:
    """A notification on a device's screen; `data` travels with it for the application and is never shown."""

    title: str
    body: str
    data: tuple[tuple[str, str], ...] = ()
    replaces: bool = False
    """Without a sound: it takes the place of one that says more than is still so."""


@dataclass(frozen=True, slots=True)
class WithdrawalContent:
    """Nothing to show: what a device shows under the delivery's collapse key leaves its screen, without a sound."""


@dataclass(frozen=True, slots=True)
class SmsContent:
    """A text message, without control characters."""

    text: str


@dataclass(frozen=True, slots=True)
class EmailContent:
    """A mail: the same words once as plain text and once as HTML."""

    subject: str
    text: str
    html: str
    unsubscribe_url: str | None = None
    """Only for mail that one may leave."""
    transactional: bool = False
    """Nobody can leave it: it is of mandatory types alone."""


@dataclass(frozen=True, slots=True)
class WebhookContent:
    """A notification for a program: what a person would read, and what it is about."""

    type: str
    at: int
    """When it was decided, in milliseconds UTC."""
    data: Mapping[str, Any]
    """As TOPICS.md describes it, without user and endpoint."""


@dataclass(frozen=True, slots=True)
class ChatContent:
    """A line in a chat, as it is: not escaped."""

    text: str


@dataclass(frozen=True, slots=True)
class PlainContent:
    """Words for a channel of another package, not escaped, each as long as the channel says at most."""

    text: str
    title: str = ""
    detail: str = ""
    url: str | None = None
    """The payload's link."""


@dataclass(frozen=True, slots=True)
class InAppContent:
    """A row of an inbox: plain text."""

    title: str
    body: str


Content = (
    PushContent
    | WithdrawalContent
    | SmsContent
    | EmailContent
    | WebhookContent
    | ChatContent
    | PlainContent
    | InAppContent
)
