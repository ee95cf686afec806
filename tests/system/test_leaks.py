"""What is secret or personal stays where it belongs, on every path: no log line, metric, answer, key, header or record
of what happened has it.
"""

from __future__ import annotations

import http.client
import json
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from helpers.up import Up, running
from helpers.waiting import wait_for

from connectors.log.embedded.log import EmbeddedLog
from connectors.log.interface import Record
from connectors.log.read_to_ends import stored_records
from flows.process.open import clock_ms

CODE, PHONE, WORDS, COOKIE = "928374", "+15005559283", "canary words of a payload", "canarycookie"
TOKENS = ("c0ffee" + "ab12" * 14 + "90", "f:" + "Canary" * 11)
MAILBOXES = ("canary.good@example.com", "550-canary@example.com", "451-canary@example.com")
NUMBERS = (PHONE, "+19995000928", "+15005550001")
NASTY = 'a\r\n{"event":"forged"}\x1b[31m\u202e\x00\u2028b'
CONTENT = frozenset({
    "events.p0", "events.p1", "events.p2", "work", "endpoints", "preferences", "inbox", "schedule",
    "deliver.push", "deliver.sms", "deliver.email", "deliver.webhook", "deliver.chat",
})  # fmt: skip
"""The topics whose values hold addresses and payloads (TOPICS)."""


def raw(system: Up, method: str, path: str, body: bytes, **headers: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection(system.first["url"].removeprefix("http://"), timeout=15)
    try:
        connection.request(method, path, body, {"content-type": "application/json", "cookie": COOKIE, **headers})
        answer = connection.getresponse()
        return answer.status, str(answer.getheaders()) + answer.read().decode()
    finally:
        connection.close()


def register(system: Up, user: str, channel: str, device: str, body: Any) -> str:
    status, answer = system.call("PUT", f"/v1/users/{user}/endpoints/{channel}/{device}", body)
    assert status == 200, answer
    return json.dumps(answer)


def people(system: Up) -> Iterator[str]:
    """Addresses that are good, and such that their provider refuses; gives what was answered."""
    for user, token, platform in (("ann", TOKENS[0], "ios"), ("bob", TOKENS[1], "android")):
        yield register(system, user, "push", "phone", {"platform": platform, "address": token})
    for number, (box, phone) in enumerate(zip(MAILBOXES, NUMBERS, strict=True)):
        yield register(system, f"u{number}", "email", "home", {"address": box})
        yield register(system, f"u{number}", "sms", "mobile", {"address": phone})


def events(system: Up) -> None:
    for number, user in enumerate(("ann", "bob", "u0", "u1", "u2")):
        code = {"event_id": f"code{number}", "type": "otp", "target": user, "payload": {"code": CODE}}
        system.post(code, p0=True)
        alert = {"event_id": f"alert{number}", "type": "security_alert", "target": user, "payload": {"text": WORDS}}
        system.post(alert, p0=True)
        said = {"text": WORDS, "actor_name": NASTY.replace("\x00", "")}
        system.post(
            {
                "event_id": f"m{number}",
                "type": "mention",
                "actor": "eve",
                "target": user,
                "object": "o",
                "payload": said,
            }
        )


def refused(system: Up, secret: str) -> Iterator[str]:
    """What callers get wrong, with something secret in it."""
    good = {"authorization": f"Bearer {system.first['keys']['producer']}"}
    event = {"type": "mention", "target": "ann", "actor": NASTY, "object": "o", "payload": {"text": WORDS}}
    for body in (
        json.dumps(event).encode(),
        json.dumps({**event, "actor": "eve", "colour": WORDS, "priority": CODE}).encode(),
        json.dumps({**event, "type": WORDS}).encode(),
        b'{"payload": {"text": "' + WORDS.encode() + b'"',
        b"\xff" + WORDS.encode(),
        json.dumps({**event, "payload": {"text": WORDS * 20_000}}).encode(),
    ):
        status, text = raw(system, "POST", "/v1/notifications", body, **good)
        assert status >= 400, text
        yield text
    wrong = json.dumps({"platform": "ios", "address": TOKENS[0] + "no"}).encode()
    yield raw(system, "PUT", "/v1/users/ann/endpoints/push/phone", wrong, **good)[1]
    for path in ("/v1/notifications", "/v1/preferences", "/v1/users/ann/endpoints"):
        yield raw(system, "POST", path, b"{}", authorization=f"Bearer {secret}")[1]
    yield raw(system, "GET", f"/v1/unsubscribe/{WORDS.replace(' ', '-')}", b"")[1]
    yield raw(system, "POST", "/v1/callbacks/twilio", WORDS.encode(), **{"x-twilio-signature": secret})[1]


def shown(system: Up) -> Iterator[str]:
    """What the host application, a user and the people who operate it see."""
    for path, bearer in (
        ("/v1/users/ann/endpoints", system.first["keys"]["producer"]),
        ("/v1/devices", system.session("ann")),
    ):
        status, text = raw(system, "GET", path, b"", authorization=f"Bearer {bearer}")
        assert status == 200, text
        assert "phone" in text
        yield text
    for path in ("/v1/users/ann/endpoints", "/v1/audit", "/openapi.json", "/metrics", "/healthz"):
        for key in ("producer", "ops", "admin"):
            if key in system.first["keys"]:
                yield raw(system, "GET", path, b"", authorization=f"Bearer {system.first['keys'][key]}")[1]
    for command in (
        ["ledger", "--json"], ["dead-letters", "list", "--json"], ["dead-letters", "list"],
        ["explain", "--event", "code3", "--user", "u1"], ["explain", "--event", "m4", "--user", "u2"],
    ):  # fmt: skip
        done = system.carillon(*command)
        assert done.returncode == 0, done.stderr
        yield done.stdout + done.stderr


def records(directory: Path) -> Iterator[Record]:
    log = EmbeddedLog(directory, clock=clock_ms)
    try:
        for topic in sorted(path.name for path in (directory / "log").iterdir() if path.is_dir()):
            places = [(topic, partition) for partition in range(log.partitions(topic))]
            yield from stored_records(log, {place: log.begin_offset(*place) for place in places})
    finally:
        log.close()


def test_no_secret_and_nothing_personal_is_where_it_does_not_belong(tmp_path: Path) -> None:
    secret = "canary-key-0123456789abcdef"
    with running(tmp_path) as system:
        texts = [("answers", text) for text in people(system)]
        events(system)
        texts += [("refusals", text) for text in refused(system, secret)]

        def ended() -> bool:
            found = [line for line in system.ledger() if line["kind"] == "delivery"]
            return len({line["emission_id"] for line in found}) >= 12 and any(
                line["outcome"] == "DEAD_LETTER" for line in found
            )

        wait_for(ended, 150, what=lambda: str(system.ledger()))
        texts += [("shown", text) for text in shown(system)]
        keys = [*system.first["keys"].values(), system.first["user_secret"]]
        assert system.stop() == 0
        texts.append(("stderr", system.errors()))
    canaries = [CODE, *(phone.removeprefix("+") for phone in NUMBERS), WORDS, COOKIE, *TOKENS, secret, *keys]
    canaries += [box.partition("@")[0] for box in MAILBOXES]
    logs = sorted((tmp_path / "run" / "logs").glob("*"))
    texts += [(path.name, path.read_text()) for path in logs]
    loose = [path for path in tmp_path.rglob("*") if stat.S_IMODE(path.stat().st_mode) & 0o077]
    for record in records(tmp_path):
        head = repr(record.key) + repr(record.headers)
        texts.append((f"{record.topic}: head", head))
        if record.topic not in CONTENT:
            texts.append((record.topic, record.value.decode("latin-1")))
    found = sorted({(place, canary) for place, text in texts for canary in canaries if canary in text})
    assert found == []
    assert len({place for place, _ in texts}) > 20, "nothing was looked at"
    for path in logs:
        for line in path.read_text().splitlines():
            assert isinstance(json.loads(line), dict), f"{path.name}: {line}"
    assert loose == [], "readable for others"
