"""What is known of a mail that came back: the values that `classify` returns."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Recipient:
    """One whom a returned mail is about."""

    address: str
    kind: str
    """`hard`, `soft`; of a complaint and of an answering machine, that."""
    status: str | None
    """RFC 3463."""
    action: str | None = None
    """RFC 3464: `failed` is final for the mail, `delayed` is not."""
    cause: str = ""
    """In a word."""
    diagnostic: str = ""
    """What the refusing server said, cut."""


@dataclass(frozen=True, slots=True)
class Returned:
    """What a mail says."""

    kind: str
    """`hard`: of some recipient the address or its domain does not exist, has moved or takes no mail; `soft`: whatever
    else failed or waits; `complaint`; `auto_reply`; `none`."""
    form: str
    """By what it was recognised: `rfc3464`, `rfc5965`, `fields`, `text`, or empty."""
    recipients: tuple[Recipient, ...] = ()
    feedback: str | None = None
    """The type of a complaint, of RFC 5965."""
    message_id: str | None = None
    """Of the mail itself."""
    returned: str = ""
    """The mail that was sent, or its fields, as far as it is in there."""
    doubts: tuple[str, ...] = ()
    """What was not understood."""
