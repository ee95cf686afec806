"""A mail that came back, as what it means: a bounce (hard or soft), a complaint, an answering machine, or none of them.

A report that machines can read is believed first (RFC 5965, RFC 3464, RFC 8098), then the fields of mail that say that
a machine answered (RFC 3834), then the words of who looks like a mail server. Nothing here fails on any bytes, and its
time grows with them alone. What was not understood is said, not guessed (`Returned.doubts`).
"""

from __future__ import annotations

import re
from dataclasses import replace

from connectors.providers.email.returned.addresses import address_in
from connectors.providers.email.returned.automatic import answered, receipt
from connectors.providers.email.returned.mime import read_mail
from connectors.providers.email.returned.notices import VAGUE, reported_recipient, room, told, worst
from connectors.providers.email.returned.reports import delivery_report, feedback_report
from connectors.providers.email.returned.seen import Seen, from_server, take_apart
from connectors.providers.email.returned.texts import RECIPIENTS_MAX, named_apart
from connectors.providers.email.returned.values import Recipient, Returned

_NO_COMPLAINTS = ("not-spam", "auth-failure")
"""Feedback of RFC 6430, and of RFC 6591: a server could not verify a signature, of which no reader knows."""
_REPORT_MAX = 10_000
_ARRIVED = ("delivered", "relayed", "expanded")
"""Of an address that others stand behind, one of whom a mail reached."""
_SENT_TO = ("to", "delivered-to", "x-original-to", "envelope-to", "apparently-to")


def classify(raw: bytes) -> Returned:
    """What a mail says; of any bytes, without errors."""
    outer = take_apart(read_mail(raw))
    seen = _enclosed(outer) or outer
    found = _complaint(seen) or _reported(seen) or receipt(seen) or answered(seen) or told(_in_words(seen))
    found = found or Returned("none", "")
    doubts = [*found.doubts, *(["only its begin was read"] if outer.mail.cut else [])]
    if found.kind == "hard" and not outer.ends:
        found = replace(found, kind="soft", recipients=tuple(replace(each, kind="soft") for each in found.recipients))
        doubts.append("it ends amid what says why")
    if found.kind != "none" and not found.recipients:
        doubts.append("no recipient found")
    if any(each.cause == "other" for each in found.recipients):
        doubts.append("no cause found")
    return Returned(
        found.kind,
        found.form,
        found.recipients,
        found.feedback,
        outer.field("message-id") or None,
        seen.returned,
        tuple(doubts),
    )


def _in_words(seen: Seen) -> Seen:
    """With reports that name nobody as words: why it failed may stand there."""
    if not seen.statuses:
        return seen
    return replace(seen, notice=f"{seen.notice}\n\n" + "\n\n".join(seen.statuses)[:_REPORT_MAX])


def _enclosed(seen: Seen) -> Seen | None:
    """A report that somebody handed on: a mail of no server, without a report of its own, that holds one."""
    if seen.statuses or seen.feedback or from_server(seen):
        return None
    if "report-type" not in seen.sent.get("content-type", "").lower():
        return None
    return take_apart(read_mail(seen.returned.encode("utf-8", "replace")))


def _complaint(seen: Seen) -> Returned | None:
    reports = seen.feedback
    if not reports and "feedback-report" in seen.field("content-type").lower():
        reports = tuple(part.text for part in seen.mail.parts if "feedback-type:" in part.text.lower()) or ("",)
    marked = address_in(seen.field("x-hmxmroriginalrecipient") or seen.sent.get("x-hmxmroriginalrecipient", ""))
    if not reports and marked is None and not _says_complaint(seen):
        return None
    kind, who = feedback_report("\n\n".join(reports))
    if kind in _NO_COMPLAINTS:
        return Returned("none", "rfc5965", feedback=kind)
    sent_to = (address_in(seen.sent.get(name, "")) for name in _SENT_TO)
    who = who or [address for address in (marked, *sent_to) if address is not None][:1]
    recipients = tuple(Recipient(address, "complaint", None, cause=kind or "abuse") for address in who)
    return Returned("complaint", "rfc5965" if reports else "text", recipients, kind or "abuse")


def _says_complaint(seen: Seen) -> bool:
    """The reports of providers that keep to nothing."""
    subject, sender = seen.field("subject").lower(), seen.sender.lower()
    local, _, domain = sender.rpartition("@")
    told = re.search(
        r"(?i)(?:e-?mail |spam |abuse )(?:abuse |feedback )?(?:report|complaint) (?:for|about|from)|"
        r"feedback[- ]loop|complaint about message from",
        f"{subject}\n{seen.notice[:1000]}",
    )
    return bool(told) and (
        local in ("scomp", "fbl", "feedback", "feedbackloop", "fbl-no-reply", "abuse", "complaints", "staff", "arf")
        or "fbl" in domain
        or "feedback" in domain
        or "complaint" in subject
    )


def _counts(known: Recipient, found: Recipient) -> bool:
    """Whether the later word on an address holds: what failed in the end, or somebody behind it who is alive."""
    if known.action != found.action:
        return found.action == "failed"
    return known.kind == "hard" and found.kind == "soft" and found.cause not in VAGUE


def _reported(seen: Seen) -> Returned | None:
    reported = [each for text in seen.statuses for each in delivery_report(text)]
    if not reported:
        return None
    failed = [each for each in reported if each.action in ("failed", "delayed")][:RECIPIENTS_MAX]
    if not failed:
        return Returned("none", "rfc3464")
    alive = {each.address.lower() for each in reported if each.action in _ARRIVED}
    recipients: dict[str, Recipient] = {}
    apart = {} if len(failed) == 1 else {each.address.lower(): each.words for each in named_apart(seen.notice)}
    for each in failed:
        around = seen.notice if len(failed) == 1 else apart.get(each.address.lower(), "")[: room(len(failed))]
        name = each.address.lower()
        found = reported_recipient(each, around, room(len(failed)), seen.senders)
        if name not in recipients or _counts(recipients[name], found):
            recipients[name] = replace(found, kind="soft") if name in alive else found
    return Returned(worst(recipients.values()), "rfc3464", tuple(recipients.values()))
