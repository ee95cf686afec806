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
    r"\byour (?:own )?(?:e-?mail )?(?:address|account|domain|host(?:name)?|mail ?server|server|ip|network)\b"
    r"(?!'s| (?:book|list|admin|manage|support|help|provider))|\b(?:account|address|server|host|domain) (?:that )?"
    r"you (?:are )?(?:send|sent)|\bsending (?:user|account|address|server|host|domain|ip)|\byou (?:are not|must|need)\b"
    r"|too many|harvest|\bheaders?\b|post denied|subscriber list",
    re.IGNORECASE,
)
"""Said of who sends or what he sent, and of many addresses."""


def blamed(cause: Cause, refusal: str, recipient: str, senders: Collection[str]) -> Cause:
    """The cause, soft where the refusal holds for now, or is about the sender.

    :param senders: domains, in lower case.
    """
    if not cause.hard:
        return cause
    if _LATER.search(refusal[:TEXT_MAX]):
        return Cause(False, cause.name)
    return Cause(False, "sender_refused") if about_sender(refusal, recipient, senders) else cause


def about_sender(refusal: str, recipient: str, senders: Collection[str]) -> bool:
    """Whether a refusal names the sender or one of his domains, and nothing of the recipient.

    A recipient in the sender's own domain is not told apart from him by a domain.
    """
    said = refusal[:TEXT_MAX].lower()
    code = _CODE.search(said)
    said = said[code.start() :] if code else said
    local, _, domain = recipient.lower().rpartition("@")
    if _named(domain, said) or _named(local, said):
        return False
    return _TO_SENDER.search(said) is not None or (
        domain not in senders and any(_named(each, said) for each in senders)
    )


def _named(name: str, said: str) -> bool:
    return bool(name) and re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", said) is not None
