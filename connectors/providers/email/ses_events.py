"""What SES tells of a mail after it took it: events as JSON, each about one mail, which has one recipient here.

The mail bears our reference in a header of its own, which comes back in the event, as does the link to unsubscribe.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from connectors.providers.email.message import REFERENCE_HEADER
from connectors.providers.receipts import ProviderReport, code_of
from state.model.errors import UNDECODABLE
from state.model.outcome import BOUNCED, CLICKED, COMPLAINED, DELIVERED, FAILED, OPENED, SOFT_BOUNCED

_LINK = re.compile(r"/v1/unsubscribe/([A-Za-z0-9_-]{40,2000})")
_BLANKS = re.compile(r"\s+")
_PLAIN = {"Delivery": DELIVERED, "Reject": FAILED, "Open": OPENED, "Click": CLICKED}
_NO_COMPLAINT = "not-spam"


class _Header(msgspec.Struct):
    name: str
    value: str


class _Mail(msgspec.Struct, rename="camel"):
    message_id: str = ""
    headers: list[_Header] = []


class _Bounce(msgspec.Struct, rename="camel"):
    bounce_type: str = ""
    bounce_sub_type: str = ""


class _Complaint(msgspec.Struct, rename="camel"):
    complaint_feedback_type: str | None = None


class _SesEvent(msgspec.Struct, rename="camel"):
    mail: _Mail
    event_type: str = ""
    notification_type: str = ""
    """The name of the same where an identity tells its events, not a configuration set."""
    bounce: _Bounce | None = None
    complaint: _Complaint | None = None


_decode = msgspec.json.Decoder(_SesEvent).decode


def read_event(text: str) -> ProviderReport | None:
    """What an event says; None: nothing that is noted, or no event."""
    try:
        event = _decode(text)
    except (*UNDECODABLE, UnicodeEncodeError):
        return None
    outcome, reason = _meaning(event)
    if outcome is None:
        return None
    headers = {header.name.lower(): _BLANKS.sub("", header.value) for header in event.mail.headers}
    link = _LINK.search(headers.get("list-unsubscribe", ""))
    return ProviderReport(
        outcome, headers.get(REFERENCE_HEADER.lower(), ""), provider="ses",
        provider_id=code_of(event.mail.message_id), reason=code_of(reason), gone=outcome == BOUNCED,
        link=link[1] if link and outcome == COMPLAINED else "",
    )  # fmt: skip


def _meaning(event: _SesEvent) -> tuple[str | None, Any]:
    """The outcome and the reason."""
    name = event.event_type or event.notification_type
    if name == "Bounce" and event.bounce is not None:
        hard = event.bounce.bounce_type == "Permanent"
        return BOUNCED if hard else SOFT_BOUNCED, f"{event.bounce.bounce_type}/{event.bounce.bounce_sub_type}"
    if name == "Complaint":
        said = event.complaint.complaint_feedback_type if event.complaint is not None else None
        return (None, None) if said == _NO_COMPLAINT else (COMPLAINED, said)
    return _PLAIN.get(name), None
