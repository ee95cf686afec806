"""The reports of RFC 3464 (delivery), RFC 6533 (with other scripts) and RFC 5965 (complaints): blocks of fields.

Read from the part that is meant for them, or out of a text in which they stand, where a mail's parts are broken.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from connectors.providers.email.returned.addresses import address_in, xtext
from connectors.providers.email.returned.mime import MailFields, read_fields

_BLOCKS_MAX = 1000
_EMPTY_LINE = re.compile(r"\n[ \t\r]*\n")
_OF_RECIPIENT = re.compile(
    r"^(original-recipient|final-recipient|action|status)[ \t]{0,5}:", re.IGNORECASE | re.MULTILINE
)
_STATUS = re.compile(r"\s*([245])\s*\.\s*(\d{1,3})\s*\.\s*(\d{1,3})")
_ACTIONS = {
    "fail": "failed",
    "error": "failed",
    "delay": "delayed",
    "deliver": "delivered",
    "relay": "relayed",
    "expand": "expanded",
}
"""By how they begin: some servers add words, or have their own."""


class Reported(NamedTuple):
    """What a report says of one recipient."""

    address: str
    """As the sender wrote it (Original-Recipient), where the report says so; else the one that it was forwarded to."""
    action: str
    """Of RFC 3464; `failed` where it says none and the status does not say otherwise."""
    status: str | None
    diagnostic: str


def delivery_report(text: str) -> list[Reported]:
    """Who is named in the blocks of a delivery status; its first block is about the message."""
    found = []
    for block in _blocks(text):
        for lines in _recipients(block):
            reported = _reported(read_fields(lines))
            if reported is not None:
                found.append(reported)
    return found


def feedback_report(text: str) -> tuple[str, list[str]]:
    """The type of a complaint, and whose it is as far as the report says."""
    kind, who = "", []
    for block in _blocks(text):
        fields = read_fields(block)
        told = fields.get("feedback-type", "") or ("auth-failure" if "auth-failure" in fields else "")  # RFC 6591
        kind = kind or told.split(";")[0].strip().lower()
        for name in (
            "original-rcpt-to",
            "removal-recipient",
            "final-recipient",
            "original-recipient",
            "redacted-address",
        ):
            address = address_in(fields.get(name, ""))
            if address is not None and address not in who:
                who.append(address)
    return kind, who


def looks_like_report(text: str) -> bool:
    """Whether the fields of a delivery status stand in a text."""
    lowered = text.lower()
    return "final-recipient:" in lowered and ("action:" in lowered or "status:" in lowered)


def _blocks(text: str) -> Iterator[str]:
    return iter(_EMPTY_LINE.split(text.replace("\r\n", "\n"), maxsplit=_BLOCKS_MAX)[:_BLOCKS_MAX])


def _recipients(block: str) -> Iterator[str]:
    """A block, cut where a field comes again: some servers leave out the empty line between recipients."""
    begin, known = 0, set[str]()
    for found in _OF_RECIPIENT.finditer(block):
        if found[1].lower() in known:
            yield block[begin : found.start()]
            begin, known = found.start(), set()
        known.add(found[1].lower())
    yield block[begin:]


def _reported(fields: MailFields) -> Reported | None:
    final, original = fields.get("final-recipient", ""), fields.get("original-recipient", "")
    if not final and not original:
        return None
    meant = address_in(xtext(original))
    address = meant or address_in(xtext(final) if "utf-8" in final[:8].lower() else final)
    if address is None:
        address = address_in(fields.get("x-actual-recipient", "")) or _local(final) or _local(original)
    if address is None:
        return None
    status = _status(fields.get("status", ""))
    diagnostic = fields.get("diagnostic-code", "") or _STATUS.sub("", fields.get("status", ""), 1)
    return Reported(address, _action(fields, status), status, diagnostic)


def _status(text: str) -> str | None:
    found = _STATUS.match(text)
    return None if found is None else ".".join(found.groups())


def _action(fields: MailFields, status: str | None) -> str:
    said = fields.get("action", "").strip().lower()
    action = next((action for begin, action in _ACTIONS.items() if said.startswith(begin)), None)
    if action is not None:
        return action
    if "will-retry-until" in fields:
        return "delayed"
    return "delivered" if status is not None and status.startswith("2") else "failed"


def _local(field: str) -> str | None:
    """An address without a domain: some servers name local users so. X.400 and directories have other names."""
    name = field.rpartition(";")[2].strip().strip("<>")
    return name if re.fullmatch(r"[^\s/=]{1,254}", name) else None
