"""Text messages through Twilio's REST interface.

`POST /2010-04-01/Accounts/{sid}/Messages.json`, form-urlencoded, basic auth. Twilio knows no idempotency key: an answer
that never came is ambiguous. The delivery's id travels in the query of StatusCallback (`?key=`), so that receipts and
tests can tell which delivery a message belongs to; the `sid` of the answer is Twilio's own name.
"""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from urllib.parse import quote, urlencode

from connectors.providers.channel import CheckResult, Delivery, Failed, Rejected, Result, Sent, Throttled, building
from connectors.providers.client import OneClient, ask, hand_over, transport_to
from connectors.providers.options import TwilioOptions
from connectors.providers.receipts import reference_of
from connectors.providers.request import Request
from connectors.providers.retry_after import parse_retry_after
from connectors.providers.sms.twilio_receipts import REFERENCE
from connectors.providers.transport import Response, Transport
from state.model.addresses import phone
from state.model.content import SmsContent
from state.model.errors import ConfigurationError
from state.model.receipt import ReferenceKeys

BODY_MAX_CHARACTERS = 1600
VALIDITY_MIN_S, VALIDITY_MAX_S = 1, 36_000


def message_key(key: str) -> str:
    """The id under which a delivery key travels: 32 hexadecimal digits, since the key itself names a person."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def build_request(delivery: Delivery, options: TwilioOptions, *, now_ms: int, reference: str = "") -> Request:
    """The request for one delivery; pure. What is left of its life becomes ValidityPeriod, in whole seconds.

    `reference` comes back with the receipts of the message.
    """
    if not isinstance(delivery.content, SmsContent):
        raise TypeError("a text message is sent to Twilio")
    left_s = (delivery.expires_at - now_ms) // 1000
    form = {
        "To": delivery.address,
        "From": options.sender,
        "Body": delivery.content.text[:BODY_MAX_CHARACTERS],
        "ValidityPeriod": str(min(max(left_s, VALIDITY_MIN_S), VALIDITY_MAX_S)),
    }
    if options.status_callback:
        separator = "&" if "?" in options.status_callback else "?"
        query = {"key": delivery.provider_id} | ({REFERENCE: reference} if reference else {})
        form["StatusCallback"] = f"{options.status_callback}{separator}{urlencode(query)}"
    return Request(_path(options, "/Messages.json"), _headers(options), urlencode(form).encode())


def _path(options: TwilioOptions, tail: str) -> str:
    return f"/2010-04-01/Accounts/{quote(options.account_sid, safe='')}{tail}"


def _headers(options: TwilioOptions) -> dict[str, str]:
    secret = b64encode(f"{options.account_sid}:{options.auth_token}".encode()).decode()
    return {"authorization": f"Basic {secret}", "content-type": "application/x-www-form-urlencoded"}


_ADDRESS_DEAD = frozenset({21211, 21214, 21217, 21610, 21614, 21635, 30005, 30006})
"""Not a number, one that cannot take text messages, a landline, unknown, or its owner said STOP."""
_ADDRESS_REFUSED = frozenset({21408, 21612, 21617, 30004, 30007})
"""This message will not reach it, which says nothing of the number itself: unroutable, blocked, filtered, too long."""
_CREDENTIAL = frozenset({20003, 20005})
"""The account."""
_SENDER_REFUSED = frozenset({21606, 21608, 21659})
"""The number it sends from, or a trial account: perhaps for this number alone, so it says nothing of the credential."""


def parse_response(response: Response, delivery: Delivery) -> Result:
    """What an answer means; pure. An unknown code falls to a class by the status."""
    body = response.document()
    sid, code = body.get("sid"), body.get("error_code") or body.get("code")
    if response.status in (200, 201) and not code:
        return Sent(sid if isinstance(sid, str) and len(sid) <= 64 else delivery.provider_id)
    number = code if isinstance(code, int) else 0
    reason = str(number or f"status {response.status}")
    wait = parse_retry_after(response.headers)
    if response.status == 429 or number == 20429:
        return Throttled(wait, reason)
    if number in _ADDRESS_DEAD:
        return Rejected(reason, token_gone=delivery.registered_at)
    if number in _ADDRESS_REFUSED:
        return Rejected(reason)
    if number in _SENDER_REFUSED:
        return Failed(reason)
    if number in _CREDENTIAL or response.status in (401, 403):
        return Failed(reason, of_credential=True)
    if 400 <= response.status < 500:
        return Rejected(reason)
    return Failed(reason, retry_after=wait)


def account_check(response: Response) -> CheckResult:
    """What the account says of itself; pure. One that is suspended or closed can be read, and sends nothing."""
    if response.status != 200:
        hint = "; look at account_sid and auth_token" if response.status in (401, 403, 404) else ""
        return CheckResult(False, f"the account cannot be read: status {response.status}{hint}")
    if (status := response.document().get("status")) in ("suspended", "closed"):
        return CheckResult(False, f"the account is {status}, so it sends nothing; ask Twilio")
    return CheckResult(True, "the credential is accepted: it may read the account; nothing was sent")


class TwilioChannel(OneClient[Transport]):
    """See `connectors.providers.channel.Channel`."""

    name = "twilio"

    def __init__(
        self, options: TwilioOptions, *, clock_ms: Callable[[], int], references: ReferenceKeys | None = None
    ) -> None:
        """`references` sign what comes back with the receipts."""
        self.options = options
        self._clock_ms, self._references = clock_ms, references

    def provider_id(self, key: str) -> str:
        """The `key` of the status callback."""
        return message_key(key)

    async def connect(self) -> None:
        """Prepare the client; connections open with the first sends.

        :raises ConfigurationError: an option is missing.
        """
        if faults := list(self.options.faults()):
            raise ConfigurationError("; ".join(faults))
        self._client = transport_to(self.options.origin, self.options, self.name, http2=False)

    async def check(self) -> CheckResult:
        """Read the account with the credential."""
        request = Request(_path(self.options, ".json"), _headers(self.options), method="GET")
        return await ask(self._connected(), request, self.options.timeout, account_check)

    async def send(self, delivery: Delivery) -> Result:
        """One request."""
        address = phone(delivery.address)
        if address is None:
            return Rejected("21211", token_gone=delivery.registered_at)
        delivery = replace(delivery, address=address)
        with building():
            reference = "" if self._references is None else reference_of(delivery, self._references)
            request = build_request(delivery, self.options, now_ms=self._clock_ms(), reference=reference)
        meaning = partial(parse_response, delivery=delivery)
        return await hand_over(self._connected(), request, self.options.timeout, meaning)
