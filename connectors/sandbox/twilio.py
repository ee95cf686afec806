"""A server that speaks Twilio's message interface, over HTTP/1.1.

`POST /2010-04-01/Accounts/{sid}/Messages.json` with basic auth and a form; 201 with a sid. The journal's `id` is the
`key` in the query of StatusCallback, to which it reports (`connectors.sandbox.receipts`). Numbers choose the answer:
Twilio's own test numbers (+15005550001 and so on), and `+1999SSSM...`: HTTP status SSS, the first M times (0: always);
status 000 hangs, 001 breaks off after taking it.
"""

from __future__ import annotations

import re
import uuid
from base64 import b64encode
from datetime import UTC, datetime
from email.utils import format_datetime
from urllib.parse import parse_qs, urlsplit

import orjson

from connectors.sandbox.http2 import Answer
from connectors.sandbox.journal import Journal
from connectors.sandbox.misbehaviour import OF_HTTP, TAKE, Behaviour, Misbehaviours
from connectors.sandbox.receipts import Receipts

_CREATED = 201
_PATH = re.compile(r"/2010-04-01/Accounts/([A-Za-z0-9]+)(/Messages)?\.json")
_NUMBER = re.compile(r"\+[1-9][0-9]{6,14}")
_CHOSEN = re.compile(r"\+1999([0-9]{3})([0-9])")
_TEST_NUMBERS = {
    "+15005550001": 21211, "+15005550002": 21612, "+15005550003": 21408, "+15005550004": 21610, "+15005550009": 21614,
}  # fmt: skip

_OF_KIND = {"gone": 21211, "bad": 21614}


class TwilioServer:
    """What all connections share."""

    def __init__(self, journal: Journal, account_sid: str, auth_token: str) -> None:
        self.journal = journal
        self.account_sid = account_sid
        self.authorization = "Basic " + b64encode(f"{account_sid}:{auth_token}".encode()).decode()
        self.misbehaviours = Misbehaviours(OF_HTTP | {"inside"})
        self._receipts = Receipts(account_sid, auth_token)

    def behaviour(self, number: str) -> Behaviour:
        """What the number asks for."""
        chosen = _CHOSEN.match(number)
        if chosen is None:
            return TAKE if number in _TEST_NUMBERS else self.misbehaviours.of("", number)
        status, times = chosen.group(1), int(chosen.group(2))
        if status == "000":
            return Behaviour("hang")
        if status == "001":
            return Behaviour("drop")
        return self.misbehaviours.refusal(number, int(status), times)

    def judge(self, target: str, headers: dict[str, str], body: bytes) -> Answer:
        """See `connectors.sandbox.http1.Http1Server`."""
        path = _PATH.fullmatch(target)
        if path is None or path.group(1) != self.account_sid:
            return _answer(404, _error(404, 20404))
        looks = not path.group(2)
        if headers.get("authorization") != self.authorization or (looks and self.misbehaviours.meets("credential")):
            return _answer(401, _error(401, 20003))
        if looks:
            return _answer(200, {"sid": self.account_sid, "status": "active"})
        return self._message(body)

    def _message(self, body: bytes) -> Answer:
        form = {name: values[0] for name, values in parse_qs(body.decode("utf-8", "replace")).items()}
        to, text = form.get("To", ""), form.get("Body", "")
        behaviour = self.behaviour(to)
        status, said = _judge(to, text, form, behaviour)
        answer, callback = _answer(status, said), form.get("StatusCallback", "")
        if status == _CREATED:
            self._receipts.begin(to, str(said["sid"]), callback)
        answer.behaviour, answer.to = behaviour, to
        if answer.status == 429 or behaviour.retry_after_s is not None:
            answer.headers += (("retry-after", behaviour.wait_s(1)),)
        answer.identity = parse_qs(urlsplit(callback).query).get("key", [""])[0]
        return answer


def _answer(status: int, content: dict[str, object]) -> Answer:
    return Answer(status, orjson.dumps(content), (("content-type", "application/json"),))


def _judge(to: str, text: str, form: dict[str, str], behaviour: Behaviour) -> tuple[int, dict[str, object]]:
    if behaviour.refuses:
        return behaviour.status, _error(behaviour.status, 20429 if behaviour.status == 429 else 20500)
    if behaviour.kind == "credential":
        return 401, _error(401, 20003)
    if code := _TEST_NUMBERS.get(to) or _OF_KIND.get(behaviour.kind):
        return 400, _error(400, code)
    if not _NUMBER.fullmatch(to):
        return 400, _error(400, 21211)
    if not form.get("From"):
        return 400, _error(400, 21603)
    if not text or len(text) > 1600:
        return 400, _error(400, 21602 if not text else 21617)
    now = format_datetime(datetime.now(UTC))
    return 201, {
        "sid": f"SM{uuid.uuid4().hex}", "status": "queued", "to": to, "from": form["From"], "body": text,
        "num_segments": "1", "num_media": "0", "direction": "outbound-api", "error_code": None, "error_message": None,
        "date_created": now, "date_updated": now, "date_sent": None, "price": None, "price_unit": "USD",
    }  # fmt: skip


def _error(status: int, code: int) -> dict[str, object]:
    return {"code": code, "message": f"error {code}", "status": status, "more_info": ""}
