"""Whom a refusal is about: servers say "unknown" and "does not exist" of senders, too, and of their domains. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable

from connectors.providers.email.returned.cause import TEXT_MAX

SENDER = "sender_refused"
"""The cause of what names the sender."""
_CODE = re.compile(r"(?<![\d.])5\d\d(?=[\s\-#])")


def about_sender(refusal: str, recipient: str, senders: Iterable[str]) -> bool:
    """Whether a refusal names a domain of the sender's and nothing of the recipient.

    A recipient in the sender's own domain is not told apart.

    :param senders: domains, in lower case.
    """
    said = refusal[:TEXT_MAX].lower()
    code = _CODE.search(said)
    said = said[code.start() :] if code else said
    local, _, domain = recipient.lower().rpartition("@")
    if domain in senders or _named(domain, said) or _named(local, said):
        return False
    return any(_named(each, said) for each in senders)


def _named(name: str, said: str) -> bool:
    return bool(name) and re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", said) is not None
