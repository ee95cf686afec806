"""A server that speaks Amazon SES's interface (API v2) over TLS: it checks signatures and reads the mails.

`POST /v2/email/outbound-emails` with the whole mail (`Content.Raw`) or its parts (`Content.Simple`), and `GET
/v2/email/account`. A request is judged as
SES does: the signature over all that was sent, within five minutes of now; then the JSON; then the mail, which must be
from the account's address. The journal's `id` is the Message-ID as it came. The local part of the recipient chooses a
misbehaviour: those of `connectors.sandbox`, of which 400, 403, 429 and 500 have SES's names, and `NAMED` before a dash.
"""

from __future__ import annotations

import hmac
import re
import uuid
from base64 import b64decode
from collections.abc import Callable
from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.message import EmailMessage
from email.utils import parseaddr
from typing import Any

import orjson

from connectors.providers.email.sigv4 import ALGORITHM, Credential, canonical_request, signature
from connectors.providers.request import Request
from connectors.sandbox.http2 import Answer
from connectors.sandbox.journal import Journal
from connectors.sandbox.misbehaviour import OF_ADDRESSES, OF_HTTPS, Behaviour, Misbehaviours

CLOCK_APART_S = 300
NAMED = {
    "rejected": (400, "MessageRejected", "Message contains a virus."),
    "unverified": (400, "MessageRejected", "Email address is not verified. The following identities failed the check"),
    "domain": (400, "MailFromDomainNotVerifiedException", "The sending domain is not verified."),
    "suspended": (400, "AccountSuspendedException", "The account is suspended."),
    "paused": (400, "SendingPausedException", "Sending is paused."),
    "quota": (429, "TooManyRequestsException", "Daily message quota exceeded."),
    "throttled": (400, "ThrottlingException", "Maximum sending rate exceeded."),
    "limit": (400, "LimitExceededException", "Too many."),
    "noset": (404, "NotFoundException", "Configuration set does not exist."),
}
_BY_STATUS = {
    400: ("BadRequestException", "Bad request."),
    403: ("InvalidSignatureException", "The signature does not match."),
    429: ("TooManyRequestsException", "Maximum sending rate exceeded."),
    500: ("InternalFailure", "Internal failure."),
}
_LABEL = re.compile(r"\+[^@]*@")
_AUTHORIZATION = re.compile(
    rf"{ALGORITHM} Credential=([^/,]+)/([0-9]{{8}})/([^/,]+)/([^/,]+)/aws4_request, ?"
    r"SignedHeaders=([a-z0-9;-]+), ?Signature=([0-9a-f]{64})"
)
_METHODS = {"/v2/email/account": "GET", "/v2/email/outbound-emails": "POST"}
"""A call with another method than its path's has a signature that does not fit."""
_JSON = ("content-type", "application/json")
_NEEDED = {"host", "x-amz-date"}


class SesServer:
    """What all connections share."""

    def __init__(self, journal: Journal, credential: Credential, sender: str, *, clock_s: Callable[[], float]) -> None:
        """`sender` is the one address that the account may send from, with any label (`+label`)."""
        self.journal = journal
        self._credential, self._sender, self._clock_s = credential, sender, clock_s
        self.misbehaviours = Misbehaviours(OF_HTTPS - OF_ADDRESSES | {"inside"})  # it takes any address

    def judge(self, target: str, headers: dict[str, str], body: bytes) -> Answer:
        """See `connectors.sandbox.http1.Http1Server`."""
        method = _METHODS.get(target)
        if method is None:
            return _refusal(404, "UnknownOperationException", "")
        fault = self._fault_of_signature(Request(target, headers, body, method))
        if fault is not None:
            return _refusal(*fault)
        if method == "POST":
            return self._mail(body)
        account = {"SendingEnabled": True, "ProductionAccessEnabled": True, "EnforcementStatus": "HEALTHY"}
        return Answer(200, orjson.dumps(account), (_JSON,))

    def _fault_of_signature(self, request: Request) -> tuple[int, str, str] | None:
        """None: it was signed with the account's key, for this service, not long ago."""
        found = _AUTHORIZATION.fullmatch(request.headers.get("authorization", ""))
        if found is None:
            return 403, "MissingAuthenticationTokenException", "Missing Authentication Token"
        key, day, region, service, names, proof = found.groups()
        own, at = self._credential, request.headers.get("x-amz-date", "")
        if key != own.access_key_id or request.headers.get("x-amz-security-token", "") != own.session_token:
            return 403, "UnrecognizedClientException", "The security token included in the request is invalid."
        listed = names.split(";")
        if not set(listed) >= _NEEDED or listed != sorted(listed) or not set(listed) <= request.headers.keys():
            return 400, "IncompleteSignatureException", "Headers are missing from the signature."
        if (region, service, day) != (own.region, own.service, at[:8]):
            return 403, "InvalidSignatureException", "Credential should be scoped to a valid region."
        if not hmac.compare_digest(proof, signature(canonical_request(request, request.headers, names), own, at)):
            return 403, "InvalidSignatureException", "The request signature we calculated does not match."
        return self._fault_of_clock(at)

    def _fault_of_clock(self, at: str) -> tuple[int, str, str] | None:
        try:
            signed_s = datetime.strptime(at, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
        except ValueError:
            return 400, "IncompleteSignatureException", "Date must be in ISO-8601 'basic format'."
        late_s = self._clock_s() - signed_s
        if abs(late_s) <= CLOCK_APART_S:
            return None
        return 403, "InvalidSignatureException", "Signature expired" if late_s > 0 else "Signature not yet current"

    def _mail(self, body: bytes) -> Answer:
        try:
            content = orjson.loads(body)
            (to,) = content["Destination"]["ToAddresses"]
            sender = content["FromEmailAddress"]
            raw = _raw(content["Content"], sender, to)
            local = str(to).partition("@")[0]
        except (ValueError, LookupError, TypeError):
            return _refusal(400, "BadRequestException", "The request is no mail.")
        mail = message_from_bytes(raw, policy=policy.default)
        behaviour = self.misbehaviours.of(local, str(to))
        answer = _judged(local, behaviour)
        if not mail["From"] or mail["To"] != to or mail.defects or b"\r\n\r\n" not in raw:
            answer = _refusal(400, "BadRequestException", "The mail is not what its request says.")
        elif parseaddr(str(mail["From"]))[1] != sender or _LABEL.sub("@", sender) != self._sender:
            answer = _refusal(*NAMED["unverified"])
        answer.behaviour, answer.to, answer.shown = behaviour, str(to), raw
        answer.identity = str(mail.get("Message-ID", ""))
        return answer


def _raw(content: Any, sender: str, to: str) -> bytes:
    """The whole mail."""
    if "Raw" in content:
        return b64decode(content["Raw"]["Data"], validate=True)
    mail, body = EmailMessage(policy=policy.SMTP), content["Simple"]["Body"]
    mail["From"], mail["To"], mail["Subject"] = sender, to, content["Simple"]["Subject"]["Data"]
    mail.set_content(body.get("Text", {}).get("Data", ""))
    if "Html" in body:
        mail.add_alternative(body["Html"]["Data"], subtype="html")
    return mail.as_bytes()


def _judged(local: str, behaviour: Behaviour) -> Answer:
    if named := NAMED.get(local.partition("-")[0] if "-" in local else ""):
        return _refusal(*named)
    if behaviour.kind == "credential":
        return _refusal(403, "ExpiredTokenException", "The security token included in the request is expired.")
    if behaviour.refuses:
        answer = _refusal(behaviour.status, *_BY_STATUS.get(behaviour.status, ("", "")))
        if behaviour.retry_after_s is not None:
            answer.headers += (("retry-after", behaviour.wait_s(0)),)
        return answer
    return Answer(200, orjson.dumps({"MessageId": f"sandbox-{uuid.uuid4()}-000000"}), (_JSON,))


def _refusal(status: int, error: str, text: str) -> Answer:
    return Answer(status, orjson.dumps({"message": text}), (_JSON, ("x-amzn-errortype", error)))
