"""The words of who looks like a mail server, as recipients with causes."""

from __future__ import annotations

import re
from collections.abc import Iterable

from connectors.providers.email.returned.addresses import address_in, addresses_in
from connectors.providers.email.returned.blame import blamed
from connectors.providers.email.returned.cause import Cause, code_in, find_cause, status_in
from connectors.providers.email.returned.reports import Reported
from connectors.providers.email.returned.seen import Seen, from_list, from_server, from_server_address, null_path
from connectors.providers.email.returned.texts import (
    BOUNCE_SUBJECT,
    REPLY_SUBJECT,
    Named,
    lists_anybody,
    named_in,
)
from connectors.providers.email.returned.values import Recipient, Returned

_DIAGNOSTIC_MAX = 500
_ROOM = 20_000
_DELAYED = re.compile(
    r"(?:delayed|delay\b|warning: (?:message|could not send|mail).{0,60}|"
    r"still (?:being )?(?:retri|tr(?:y|ied))|will (?:be )?(?:continue|keep|retr)|"
    r"you do not need to (?:resend|do)|not yet (?:been )?delivered|has not yet been delivered|"
    r"no action is required|verzöger|retard(?:é|ée|ada)\b|retrasad|ritard|atrasad|vertraag|vertraging|försen|"
    r"forsink|opóźni|задерж|отложен|遅延|延迟|延遲)",
    re.IGNORECASE,
)
_WAITING = re.compile(
    r"still being retried|will be retried|(?:a|this is a|message) warning (?:message )?only|"
    r"do not need to resend|not yet been delivered|(?:will|attempts?) (?:\w+ ){0,2}continue",
    re.IGNORECASE,
)
"""What is said of no mail that was given up, even if it "could not be delivered for 4 hours"."""
_GIVEN_UP = re.compile(
    r"permanent|giv(?:en|ing|e) up|gave up|could not be delivered|undeliverable|(?:delivery|has|"
    r"have) failed|returned to sender|couldn't be delivered",
    re.IGNORECASE,
)
_ARRIVED = re.compile(
    r"\bsuccess(?:ful|fully)?\b.{0,60}(?:deliver|relay)|(?:deliver|relay)\w*.{0,60}\bsuccess|has been delivered|"
    r"\A(?:relayed|delivered|expanded|(?:not )?read):|delivery to .{0,60} is complete|(?:been|was) forwarded to",
    re.IGNORECASE,
)
_FAILED = re.compile(
    r"fail|could ?n[o']t|unable|undeliver|error|reject|not (?:yet )?(?:be )?deliver|not reach", re.IGNORECASE
)
_REPLY = re.compile(
    r"(?:said:|responded|<<<|server (?:said|response)|remote|error was|>>>|reason|diagnostic|"
    r"\b[45]\d\d[ \-#]|\b[45]\.\d{1,3}\.\d{1,3}\b)",
    re.IGNORECASE,
)
_ANSWER = re.compile(r"(?:[:;>]|said|<<<)\s{1,3}[45]\d\d[ \-#]")
"""How servers quote another's answer; people write its number anywhere in what they tell."""
_SUBJECT = re.compile(r"(?im)^[ \t>]{0,20}(?:subject|betreff|objet|asunto|oggetto|assunto|onderwerp)[ \t]{0,5}:.*$")
"""Of the mail that is returned: words of the sender's own."""
_TAG = re.compile(r"\+[^@]*@")
VAGUE = ("other", "policy", "system", "network", "expired")
"""Causes that a better word replaces."""


def told(seen: Seen) -> Returned | None:
    """The words of who looks like a mail server."""
    marked = addresses_in(seen.field("x-failed-recipients"))
    if not marked and not _likely(seen):
        return None
    if _ARRIVED.search(f"{seen.field('subject')}\n{seen.notice[:2000]}") and not _FAILED.search(seen.notice):
        return Returned("none", "text")
    ours = _ours(seen, marked)
    named = [Named(address, seen.notice) for address in marked] or _named(seen, ours)
    if len(marked) > 1:
        apart = {each.address: each for each in named_in(seen.notice, ours)}
        named = [apart.get(each.address, each) for each in named]
    late = _late(f"{seen.field('subject')}\n{seen.notice}", seen.notice)
    recipients = tuple(_from_words(each._replace(words=each.words[: room(len(named))]), late, seen) for each in named)
    if (
        not recipients
        and not _says_it_failed(seen)
        and _cause(None, _replies(seen.notice), seen.notice).name == "other"
    ):
        return None
    kind = worst(recipients) if recipients else _anonymous(seen, late)
    return Returned(kind, "fields" if marked else "text", recipients)


def _late(said: str, notice: str) -> bool:
    """Whether a notice is a warning, and the server keeps trying."""
    return bool(_WAITING.search(said) or (_DELAYED.search(said) and not _GIVEN_UP.search(notice)))


def _likely(seen: Seen) -> bool:
    """Whether it looks like a mail server's: by its sender, or by its form and what servers say in their notices.

    The form alone is a vacation note's, too, and the subject alone a parcel service's.
    """
    subject = seen.field("subject")
    bounced = bool(BOUNCE_SUBJECT.search(subject))
    if from_list(seen.mail):  # a list that hands a notice on puts its fields on it, but not its name in From
        daemon = "mailer-daemon" in seen.field("from").lower()
        return (daemon or (bounced and from_server(seen))) and not REPLY_SUBJECT.match(subject)
    if from_server(seen):
        return True
    formed = null_path(seen) or "delivery-status" in seen.field("content-type").lower()
    if REPLY_SUBJECT.match(subject) or not (formed or bounced):
        return False
    quoted = _ANSWER.search(seen.notice) or (formed and (code_in(seen.notice) or status_in(seen.notice)))
    return bool(quoted or seen.sent or lists_anybody(seen.notice) or addresses_in(subject))


def _says_it_failed(seen: Seen) -> bool:
    """Whether a server says so in the subject and in what it writes."""
    bounced = BOUNCE_SUBJECT.search(seen.field("subject"))
    return from_server(seen) and bounced is not None and _FAILED.search(seen.notice) is not None


def _named(seen: Seen, ours: frozenset[str]) -> list[Named]:
    """By the notice, else by its subject, else by whom the mail was sent to; who wrote to himself is the last."""
    subject = seen.field("subject")
    sent_to = address_in(seen.sent.get("to", ""))
    fallen_back = [Named(sent_to, seen.notice)] if sent_to is not None and sent_to.lower() not in ours else []
    told = named_in(seen.notice, ours) or [
        each._replace(words=f"{subject}\n{seen.notice}") for each in named_in(subject, ours)
    ]
    senders = seen.senders
    strange = [each for each in told if each.address.rpartition("@")[2] not in senders]
    to = (address_in(seen.field("to")) or "").lower()
    return strange or told or fallen_back or named_in(seen.notice, frozenset((seen.sender, to, _TAG.sub("@", to))))


def _anonymous(seen: Seen, late: bool) -> str:
    """A mail that names nobody blames somebody only where it quotes a server, or is one's that says no more."""
    notice = seen.notice
    said = null_path(seen) and _says_it_failed(seen) and not addresses_in(notice)
    quoted = said or code_in(notice) or status_in(notice)
    return "hard" if quoted and not late and _cause(None, _replies(notice), notice).hard else "soft"


def _ours(seen: Seen, marked: list[str]) -> frozenset[str]:
    """Addresses that a notice names, but not as those who were not reached."""
    fields = (
        seen.field("to"),
        seen.field("from"),
        seen.field("return-path"),
        seen.sent.get("from", ""),
        seen.sent.get("return-path", ""),
        seen.sent.get("sender", ""),
    )
    found = {address.lower() for field in fields for address in addresses_in(field)}
    found |= {_TAG.sub("@", address) for address in found}
    return frozenset(found) - frozenset(map(str.lower, marked))


def _prose(seen: Seen) -> bool:
    """Whether it quotes no server and returns no mail, and somebody sent it whom mail can reach: a shop's may, too."""
    path = address_in(seen.field("return-path"))
    quoted = code_in(seen.notice) or status_in(seen.notice) or seen.sent
    return path is not None and not quoted and not from_server_address(path)


def _from_words(named: Named, late: bool, seen: Seen) -> Recipient:
    replies = _replies(named.words)
    cause = blamed(_cause(None, replies, named.words, seen.notice), replies, named.address, seen.senders)
    status = status_in(replies) or status_in(named.words)
    hard = cause.hard and not late and not _prose(seen)
    code = code_in(replies)
    said = replies or named.words.strip()
    return Recipient(
        named.address,
        "hard" if hard else "soft",
        status or (f"{code[0]}.0.0" if code else None),
        "delayed" if late else "failed",
        cause.name,
        " ".join(said.split())[:_DIAGNOSTIC_MAX],
    )


def room(recipients: int) -> int:
    """Characters that are read of what is said of each, so that many take no longer than one."""
    return max(200, _ROOM // recipients)


def reported_recipient(reported: Reported, around: str, room: int, senders: frozenset[str]) -> Recipient:
    """A recipient of a report, with the notice around it where that is about nobody else."""
    cause = _cause(reported.status, reported.diagnostic[:room], _replies(around), around)
    cause = blamed(cause, reported.diagnostic[:room], reported.address, senders)
    if cause.hard and not reported.diagnostic:  # the status alone said so
        told = _cause(None, _replies(around), around)
        cause = cause if told.hard or told.name in VAGUE else told
    hard = cause.hard and reported.action == "failed"
    said = status_in(reported.diagnostic)
    status = reported.status if reported.status and not reported.status.endswith(".0.0") else said or reported.status
    return Recipient(
        reported.address,
        "hard" if hard else "soft",
        status,
        reported.action,
        cause.name,
        reported.diagnostic[:_DIAGNOSTIC_MAX],
    )


def worst(recipients: Iterable[Recipient]) -> str:
    """The kind of a mail that is about some."""
    return "hard" if any(each.kind == "hard" for each in recipients) else "soft"


def _cause(status: str | None, *told: str) -> Cause:
    """By the first of some texts that says anything, the nearest to the refusal first."""
    found = find_cause(status, told[0])
    for text in told[1:]:
        if found.name in VAGUE:
            better = find_cause(status, told[0], _SUBJECT.sub("", text))
            found = better if better.name not in VAGUE or found.name == "other" else found
    return found


def _replies(words: str) -> str:
    """The lines of a notice in which a server's answer is quoted, each with the one below it."""
    lines = words.split("\n")
    quoted = [number for number, line in enumerate(lines) if _REPLY.search(line[:1000])]
    wanted = sorted({each for number in quoted for each in (number, number + 1) if each < len(lines)})
    return "\n".join(lines[number][:1000] for number in wanted)
