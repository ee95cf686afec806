"""Mail through Amazon SES, by its HTTP interface (API v2): `POST /v2/email/outbound-emails` with the whole mail.

SES knows no idempotency key: an answer that never came is ambiguous. It puts a Message-ID and a Date of its own in the
place of ours, so neither is signed by DKIM, and a mail that went out twice has two Message-IDs. The `MessageId` of the
answer is SES's name for the mail. It answers before it looks for the recipient: no answer retires an address.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from functools import partial

import orjson

from connectors.providers.channel import CheckResult, Delivery, Failed, Rejected, Result, Sent, Throttled, building
from connectors.providers.client import OneClient, ask, hand_over, transport_to
from connectors.providers.email.dkim import DkimSigner
from connectors.providers.email.mail import build_mail, dkim_signer
from connectors.providers.email.message import UnsafeMessageError, message_id
from connectors.providers.email.options import SesOptions
from connectors.providers.email.sigv4 import Credential, host_of, signed
from connectors.providers.receipts import reference_of
from connectors.providers.request import Request
from connectors.providers.retry_after import parse_retry_after
from connectors.providers.transport import Response, Transport
from state.model.addresses import mailbox
from state.model.errors import ConfigurationError
from state.model.receipt import ReferenceKeys

REWRITTEN = frozenset({"Date", "Message-ID"})
"""Headers that SES puts its own in the place of; its guide says not to sign them."""
QUOTA_WAIT = timedelta(hours=1)
"""The daily quota counts the last 24 hours, so some of it comes back within this; a retry in seconds meets it again."""
MESSAGE_ID_MAX = 100


def build_request(
    delivery: Delivery, options: SesOptions, *, now_s: float, signer: DkimSigner | None = None, reference: str = ""
) -> Request:
    """The signed request for one delivery; pure. `reference` comes back with the events of the mail.

    :raises UnsafeMessageError: the mail cannot be sent as meant.
    """
    mail = build_mail(delivery, options, date_s=now_s, signer=signer, reference=reference)
    content: dict[str, object] = {
        "FromEmailAddress": options.sender_of(delivery.content),
        "Destination": {"ToAddresses": [delivery.address]},
        "Content": {"Raw": {"Data": b64encode(mail).decode()}},
    }
    if options.configuration_set:
        content["ConfigurationSetName"] = options.configuration_set
    headers = {"content-type": "application/json"}
    return _signed(Request("/v2/email/outbound-emails", headers, orjson.dumps(content)), options, now_s)


def _signed(request: Request, options: SesOptions, now_s: float) -> Request:
    credential = Credential(
        options.access_key_id, options.secret_access_key, options.region, "ses", options.session_token
    )
    return signed(request, credential, host=host_of(options.origin), now_s=now_s)


_THROTTLED = frozenset({"TooManyRequestsException", "ThrottlingException", "Throttling"})
"""The rate, or the daily quota: the message tells which."""
_MESSAGE = frozenset({"MessageRejected", "BadRequestException", "ValidationException"})
"""This mail: its content, or an address that is none to SES."""
_ACCOUNT = frozenset({
    "AccountSuspendedException", "SendingPausedException", "MailFromDomainNotVerifiedException", "NotFoundException",
    "SignatureDoesNotMatch", "InvalidSignatureException", "IncompleteSignature", "IncompleteSignatureException",
    "MissingAuthenticationToken", "MissingAuthenticationTokenException", "UnrecognizedClientException",
    "InvalidClientTokenId", "ExpiredToken", "ExpiredTokenException", "RequestExpired", "AccessDenied",
    "AccessDeniedException", "OptInRequired", "NotAuthorized",
})  # fmt: skip
"""Our account, key, sender, configuration set or clock: nothing to do with the recipient."""
_KNOWN = _THROTTLED | _MESSAGE | _ACCOUNT | {"LimitExceededException"}
_UNCERTAIN = frozenset({502, 504})
"""Said by what stands before SES, which does not know whether SES took the mail."""


def parse_response(response: Response, delivery: Delivery) -> Result:
    """What an answer means; pure. A name that is not known falls to a class by the status."""
    body = response.document()
    error, name = _error(response, body), body.get("MessageId")
    if response.status == 200 and (name or not _names_error(response, body)):
        known = isinstance(name, str) and 0 < len(name) <= MESSAGE_ID_MAX and name.isascii() and name.isprintable()
        return Sent(str(name) if known else delivery.provider_id)
    said = str(body.get("message") or body.get("Message") or "").lower()
    reason = error or f"status {response.status}"
    wait = parse_retry_after(response.headers)
    if error == "LimitExceededException" or (_throttles(response, error) and "quota" in said):
        return Throttled(QUOTA_WAIT, f"{reason}: daily quota")
    if _throttles(response, error):
        return Throttled(wait, reason)
    if error == "MessageRejected" and "not verified" in said:
        return Failed(f"{reason}: not verified")
    if error in _ACCOUNT or response.status in (401, 403):
        late = "signature expired" in said or "not yet current" in said
        return Failed(f"{reason}: clock" if late else reason, of_credential=True)
    if error in _MESSAGE or response.status in (400, 413):
        return Rejected(reason)
    return Failed(reason, ambiguous=response.status in _UNCERTAIN, retry_after=wait)


def _throttles(response: Response, error: str) -> bool:
    return response.status == 429 or error in _THROTTLED


def _names_error(response: Response, body: dict[str, object]) -> bool:
    """Whether it is an answer of an error, known or not."""
    return "x-amzn-errortype" in response.headers or "__type" in body


def _error(response: Response, body: dict[str, object]) -> str:
    """The name of an error that is known; empty: it is not. A service's namespace and an address may surround it."""
    named = response.headers.get("x-amzn-errortype") or body.get("__type") or body.get("code") or ""
    name = str(named).partition(":")[0].rpartition("#")[2]
    return name if name in _KNOWN else ""


class SesChannel(OneClient[Transport]):
    """See `connectors.providers.channel.Channel`."""

    name = "ses"

    def __init__(
        self, options: SesOptions, *, clock_s: Callable[[], float], references: ReferenceKeys | None = None
    ) -> None:
        """The clock must be right within five minutes: SES refuses what was signed at another time."""
        self.options = options
        self._clock_s, self._references = clock_s, references
        self._signer: DkimSigner | None = None

    def provider_id(self, key: str) -> str:
        """The Message-ID that the mail has when it is handed over."""
        return message_id(key, self.options.domain)

    async def connect(self) -> None:
        """Prepare the client and read the key of the signatures; connections open with the first sends.

        :raises ConfigurationError: an option is missing, or the key cannot be read.
        """
        if faults := list(self.options.faults()):
            raise ConfigurationError("; ".join(faults))
        self._signer = dkim_signer(self.options, rewritten=REWRITTEN)
        self._client = transport_to(self.options.origin, self.options, self.name, http2=False)

    async def check(self) -> CheckResult:
        """Read the account with the key: may it send, and to whom."""
        request = _signed(Request("/v2/email/account", {}, method="GET"), self.options, self._clock_s())
        return await ask(self._connected(), request, self.options.timeout, _account)

    async def send(self, delivery: Delivery) -> Result:
        """One request."""
        address = mailbox(delivery.address)
        if address is None:
            return Rejected("not a mail address", token_gone=delivery.registered_at)
        delivery = replace(delivery, address=address)
        try:
            with building():
                reference = "" if self._references is None else reference_of(delivery, self._references)
                now_s = self._clock_s()
                request = build_request(delivery, self.options, now_s=now_s, signer=self._signer, reference=reference)
        except UnsafeMessageError as error:
            return Rejected(str(error))
        meaning = partial(parse_response, delivery=delivery)
        return await hand_over(self._connected(), request, self.options.timeout, meaning)


def _account(response: Response) -> CheckResult:
    body = response.document()
    if response.status != 200:
        return CheckResult(False, f"status {response.status} {_error(response, body)}".strip())
    if body.get("SendingEnabled") is not True:
        return CheckResult(False, "the account may not send")
    if body.get("ProductionAccessEnabled") is not True:
        return CheckResult(True, "the account is in SES's sandbox: it reaches verified recipients only")
    return CheckResult(True, "the key is accepted and the account may send; no mail was sent")
