"""A mail that came back, taken apart: reports for machines, the notice for people, and the mail that was sent."""

from __future__ import annotations

import re
from dataclasses import dataclass

from connectors.providers.email.returned.addresses import address_in, addresses_in
from connectors.providers.email.returned.mime import Mail, MailFields, read_fields
from connectors.providers.email.returned.reports import looks_like_report
from connectors.providers.email.returned.texts import (
    BOUNCE_SUBJECT,
    DESKS,
    REPLY_SUBJECT,
    SERVERS,
    before_returned,
    plain_text,
)

_STATUS_TYPES = (
    "message/delivery-status",
    "message/global-delivery-status",
    "text/delivery-status",
    "message/x-delivery-status",
)
_RETURNED_TYPES = (
    "message/rfc822",
    "message/global",
    "text/rfc822-headers",
    "message/global-headers",
    "text/rfc822",
    "message/rfc822-headers",
    "message/partial",
)


_SERVER_NAME = re.compile(r"mailer-daemon|postmaster|\bmail (?:delivery|administrator|server|system)\b")


@dataclass(frozen=True, slots=True)
class Seen:
    """A mail taken apart."""

    mail: Mail
    notice: str
    """For people, without the mail that is returned."""
    returned: str
    sent: MailFields
    """Of the mail that is returned."""
    statuses: tuple[str, ...]
    """What looks like a delivery report."""
    feedback: tuple[str, ...]

    def field(self, name: str) -> str:
        return self.mail.fields.get(name, "")

    @property
    def ends(self) -> bool:
        """Whether all is here of what says why: what is cut is the mail that is returned, if anything is."""
        last = self.mail.parts[-1].content_type if self.mail.parts else ""
        return self.mail.ends or not (
            last in _STATUS_TYPES or (last.startswith("text/") and last not in _RETURNED_TYPES)
        )

    @property
    def senders(self) -> frozenset[str]:
        """The domains of whom the mail was from, to whom this comes back; in lower case."""
        fields = (self.field("to"), self.sent.get("from", ""), self.sent.get("return-path", ""))
        return frozenset(each.rpartition("@")[2] for field in fields for each in addresses_in(field))

    @property
    def sender(self) -> str:
        return address_in(self.field("from")) or self.field("from").strip().lower()


def take_apart(mail: Mail) -> Seen:
    """Its parts by what they are for."""
    feedback = [part.text for part in mail.parts if part.content_type == "message/feedback-report"]
    texts = [
        part
        for part in mail.parts
        if part.content_type.startswith("text/") and part.content_type not in _RETURNED_TYPES + _STATUS_TYPES
    ]
    shown = [part.text for part in texts if part.content_type != "text/html"] or [
        plain_text(part.text) for part in texts
    ]
    if not any(map(str.strip, shown)):
        shown = [plain_text(part.text) for part in texts]
    notice, behind = before_returned("\n\n".join(shown))
    returned = next(
        (part.text for part in mail.parts if part.content_type in _RETURNED_TYPES and part.text.strip()), behind
    )
    return Seen(mail, notice, returned, fields_of(returned), tuple(_statuses(mail)), tuple(feedback))


def _statuses(mail: Mail) -> list[str]:
    """The parts that are meant for it, and where these name nobody, one that looks like it."""
    meant = [part.text for part in mail.parts if part.content_type in _STATUS_TYPES]
    named = any(looks_like_report(text) or "recipient:" in text.lower() for text in meant)
    if named or (not from_server_address(mail.fields.get("from", "")) and (from_list(mail) or _from_somebody(mail))):
        return meant
    return meant + [part.text for part in mail.parts if looks_like_report(part.text)][:1]


def _from_somebody(mail: Mail) -> bool:
    """Whether it has an envelope sender and no bounce's subject, or answers one: people show each other reports."""
    subject = mail.fields.get("subject", "")
    if "report" in mail.content_type:
        return False
    return REPLY_SUBJECT.match(subject) is not None or (
        mail.fields.get("return-path", "<>").strip() != "<>" and BOUNCE_SUBJECT.search(subject) is None
    )


def fields_of(returned: str) -> MailFields:
    """Of the mail behind a notice: where its first field stands, other lines may come before it."""
    text = re.sub(r"(?m)^[>| \t]+(?=[A-Za-z][\w-]{1,60}:)", "", returned[:40_000].lstrip())
    begin = re.search(
        r"(?m)^(?:received|return-path|delivered-to|from|date|to|subject|message-id|dkim-signature|mime-version):",
        text,
        re.IGNORECASE,
    )
    return read_fields(text[begin.start() :]) if begin else {}


def from_list(mail: Mail) -> bool:
    """Whether it is a newsletter or of a mailing list (RFC 2369, RFC 2919), where people may write of returned mail."""
    return any(name in mail.fields for name in ("list-id", "list-unsubscribe", "list-post"))


def null_path(seen: Seen) -> bool:
    """Whether it came without an envelope sender, as what machines answer does (RFC 3834, RFC 5321)."""
    return seen.field("return-path").strip() == "<>"


def from_server(seen: Seen) -> bool:
    """Whether a mail server says that it wrote this."""
    return from_server_address(seen.field("from"))


def from_server_address(sender: str) -> bool:
    """Whether an address, or a name beside it, is a mail server's."""
    said = sender.lower()
    local = (address_in(sender) or sender.strip()).lower().partition("@")[0].strip('"')
    return local in SERVERS - DESKS or _SERVER_NAME.search(said) is not None
