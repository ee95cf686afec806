"""What a person gets to see, rendered for one channel. Plain values: connectors carry them, operators make them."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PushContent:
    """A notification on a device's screen; `data` travels with it for the application and is never shown."""

    title: str
    body: str
    data: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class SmsContent:
    """A text message, without control characters."""

    text: str


@dataclass(frozen=True, slots=True)
class EmailContent:
    """A mail: the same words once as plain text and once as HTML. `unsubscribe_url` only for mail that one may
    leave.
    """

    subject: str
    text: str
    html: str
    unsubscribe_url: str | None = None


Content = PushContent | SmsContent | EmailContent
