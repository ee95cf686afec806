"""What Twilio says of a message after it took it: a form, posted to the StatusCallback of the message, and signed.

X-Twilio-Signature is base64 of the HMAC-SHA1, by the account's auth token, over the URL that Twilio was given and then
name and value of each field of the form, by name. Of the stages of a message only the last three are final.
"""

from __future__ import annotations

import hmac
import re
from base64 import b64encode
from collections.abc import Sequence
from hashlib import sha1
from urllib.parse import parse_qsl

from connectors.providers.receipts import ProviderReport, code_of

REFERENCE = "ref"
"""Of the query of a StatusCallback: our reference to the delivery."""
FIELDS_MAX = 100
_HOST = re.compile(r"(https?://[^/?]*?)(:[0-9]+)?(?=[/?]|$)")
_FINAL = frozenset({"delivered", "undelivered", "failed"})
"""Twilio's words, which are ours (`state.model.outcome`)."""
_ADDRESS_DEAD = frozenset({"30005", "30006"})
"""Nobody has the number, or it is a landline."""


def twilio_signature(url: str, form: Sequence[tuple[str, str]], auth_token: str) -> str:
    """The header's value for this request; a field that is there twice with the same value counts once."""
    text = url + "".join(name + value for name, value in sorted(set(form)))
    return b64encode(hmac.new(auth_token.encode(), text.encode(), sha1).digest()).decode()


def is_twilios(url: str, form: Sequence[tuple[str, str]], auth_token: str, given: str | None) -> bool:
    """Whether the account's secret signed it. Twilio writes the port into what it signs, or not, wherever it calls."""
    if given is None or (host := _HOST.match(url)) is None:
        return False
    bare, rest = host[1], url[host.end() :]
    port = host[2] or (":443" if url.startswith("https:") else ":80")
    signatures = (twilio_signature(each + rest, form, auth_token) for each in (bare, bare + port))
    return any(hmac.compare_digest(each.encode(), given.encode()) for each in signatures)


def posted_form(body: bytes) -> list[tuple[str, str]]:
    """The fields in their order; none where it is no form."""
    try:
        return parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=FIELDS_MAX)
    except ValueError:
        return []


def read_status(form: Sequence[tuple[str, str]], reference: str) -> ProviderReport | None:
    """What the form says; None: nothing final."""
    said = dict(form)
    status, code = said.get("MessageStatus", ""), code_of(said.get("ErrorCode"))
    if status not in _FINAL:
        return None
    return ProviderReport(
        status, reference, provider="twilio", provider_id=code_of(said.get("MessageSid")), reason=code,
        gone=status != "delivered" and code in _ADDRESS_DEAD,
    )  # fmt: skip
