"""Whom a refusal is about: servers say "unknown" and "does not exist" of senders, too, and of the moment. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection

from connectors.providers.email.returned import foreign
from connectors.providers.email.returned.cause import TEXT_MAX, Cause

_CODE = re.compile(r"(?<![\d.])5\d\d(?=[\s\-#])")
_LATER = re.compile(
    r"try (?:again )?later|temporar(?:y|ily)|at (?:the|this) (?:moment|time)\b|in transit|(?:will|to) retry|timed? ?out"
    r"|message (?:has )?expired|" + "|".join(foreign.LATER),
    re.IGNORECASE,
)
_TO_SENDER = re.compile(
    r"(?:\A[\d.\s#:;-]*|\b(?:of|from|for|by|because|since|as) )your (?:own )?(?:e-?mail )?"
    r"(?:address|account|domain|host(?:name)?|mail ?server|server|ip|network)\b"
    r"(?!'s| (?:book|list|admin|manage|support|help))"
    r"|\byou (?:are )?(?:send|sent)(?:ing)? (?:\w+ )?from\b|\bsending (?:user|account|address|server|host|domain|ip)"
    r"|\byou (?:are not|(?:must|need to) (?:be|first|register|authenticate|log|subscribe))\b|too many|次数过多|harvest"
    r"|\b(?:missing|invalid|malformed|bad|to:?|from:?) (?:\w+ )?headers?\b|\bmissing (?:to|from)\b"
    r"|post denied|subscriber list|\b(?:helo|ehlo)\b|\bfrom[: -]{1,2}address\b"
    r"|\A[\d.\s#:;-]*(?:ihre|votre|uw|din) (?:e-?mail-?)?adres",
    re.IGNORECASE,
)
"""Said of who sends or what he sent, and of many addresses."""


def blamed(cause: Cause, refusal: str, recipient: str, senders: Collection[str]) -> Cause:
    """The cause, soft where the refusal holds for now, or is about the sender.

    :param senders: domains, in lower case.
    """
    if not cause.hard:
        return cause
    if _LATER.search(_answer(refusal)):
        return Cause(False, cause.name)
    return Cause(False, "sender_refused") if about_sender(refusal, recipient, senders) else cause


def about_sender(refusal: str, recipient: str, senders: Collection[str]) -> bool:
    """Whether a refusal names the sender or one of his domains, and nothing of the recipient.

    A recipient in the sender's own domain is not told apart from him by a domain.
    """
    said = _answer(refusal).lower()
    local, _, domain = recipient.lower().rpartition("@")
    if _named(domain, said) or _named(local, said):
        return False
    return _TO_SENDER.search(said) is not None or (
        domain not in senders and any(_named(each, said) for each in senders)
    )


def _answer(refusal: str) -> str:
    """From the reply code on, where there is one: other servers may have been tried before."""
    said = refusal[:TEXT_MAX]
    code = _CODE.search(said)
    return said[code.start() :] if code else said


def _named(name: str, said: str) -> bool:
    return bool(name) and re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", said) is not None
