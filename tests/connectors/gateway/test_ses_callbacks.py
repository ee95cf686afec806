"""The events of SES as the gateway takes them; Amazon's part, its key and its two answers, is played by the test."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from helpers.amazon import CERTIFICATE, CONFIRM, TOPIC, certificate, confirmation, notification
from helpers.gateway import now_ms

from connectors.gateway.callbacks import Callbacks
from connectors.gateway.directory import Directory
from connectors.gateway.http import ApiRequest
from connectors.gateway.options import GatewayOptions, UserTokens
from connectors.gateway.preferences import Preferences
from connectors.gateway.problems import ProblemError
from connectors.gateway.ses_callbacks import SesReceipts
from connectors.gateway.writer import SettingWriter
from connectors.log.embedded.log import EmbeddedLog
from connectors.log.grouped import BatchingAppender
from connectors.log.read_to_ends import stored_records
from connectors.log.topics import topic_specs
from connectors.metrics import CALLBACKS_REFUSED
from connectors.providers.email.sns import AGE_MAX
from connectors.providers.transport import TransportError
from operators.admit import Rules
from state.model.receipt import ReferenceKeys, SentDelivery
from state.model.registry import load_registry
from state.model.unsubscribe import LinkKeys, Unsubscription
from state.model.web_address import WebAddress

WRITTEN = 1_795_899_600_000
"""When Amazon wrote what it plays here."""
KEYS = (b"k" * 32,)
SENT = SentDelivery("zoe", "em_1", "email", "home", 5_000)
Post = Callable[[dict[str, Any]], Coroutine[Any, Any, int]]


class Amazon:
    """Serves its certificate and takes confirmations, while it is there."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.away = False

    async def fetch(self, address: WebAddress) -> bytes | None:
        self.asked.append(address.url)
        if self.away:
            raise TransportError("no answer", ambiguous=True)
        return certificate() if address.url == CERTIFICATE else b"<ok/>"


class Site:
    """A gateway's part that takes callbacks, over a log."""

    def __init__(self, directory: Path) -> None:
        self.log, self.amazon, self.now = EmbeddedLog(directory, clock=now_ms), Amazon(), WRITTEN
        self.log.ensure_topics(topic_specs(4, timedelta(days=1)))
        rules = Rules(load_registry())
        self._directory = Directory(directory / "directory.sqlite", rules.canonical_address)
        self._appender = BatchingAppender(self.log)
        writer = SettingWriter(self._appender, self._directory, self.log.partitions, deadline=timedelta(seconds=10))
        options = GatewayOptions(directory, keys=(), users=UserTokens("s"), link_keys=KEYS)
        readers = {"ses": SesReceipts(TOPIC, self.amazon.fetch, lambda: self.now)}
        preferences = Preferences(rules, writer, self._directory)
        self._callbacks = Callbacks(readers, options, rules, writer, preferences, clock=lambda: 9_000)

    async def post(self, message: dict[str, Any]) -> int:
        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": json.dumps(message).encode()}

        scope = {"headers": [], "query_string": b""}
        request = ApiRequest(scope, receive, body_deadline=timedelta(seconds=5))
        request.parameters = {"provider": "ses"}
        try:
            return (await self._callbacks.post(request)).status
        except ProblemError as problem:
            return problem.status

    def values(self, topic: str) -> list[dict[str, Any]]:
        places = {(topic, number): 0 for number in range(4)}
        return [json.loads(record.value) for record in stored_records(self.log, places)]

    def close(self) -> None:
        self._appender.close()
        self._directory.close()
        self.log.close()


@asynccontextmanager
async def site_in(directory: Path) -> AsyncIterator[Site]:
    site = Site(directory)
    try:
        yield site
    finally:
        await asyncio.to_thread(site.close)


def event(kind: str, details: dict[str, str], reference: str, link: str = "") -> dict[str, Any]:
    headers = [{"name": "X-Carillon-Reference", "value": reference}, {"name": "List-Unsubscribe", "value": link}]
    return notification({"eventType": kind, "mail": {"messageId": "m", "headers": headers}, kind.lower(): details})


HARD = {"bounceType": "Permanent", "bounceSubType": "General"}
SOFT = {"bounceType": "Transient", "bounceSubType": "MailboxFull"}
OURS = ReferenceKeys(KEYS).sign(SENT)


def test_a_hard_bounce_retires_the_address_as_it_was_and_a_soft_one_is_counted(tmp_path: Path) -> None:
    async def run() -> None:
        async with site_in(tmp_path) as site:
            assert await site.post(event("Bounce", SOFT, OURS)) == 204
            assert site.values("endpoints") == []
            assert await site.post(event("Bounce", HARD, OURS)) == 204
            [gone] = site.values("endpoints")
            assert (gone["user"], gone["channel"], gone["id"], gone["gone_at"]) == ("zoe", "email", "home", 5_000)
            noted = [(each["outcome"], each["reason"], each["at"]) for each in site.values("outcomes")]
            assert noted == [("soft_bounced", "Transient/MailboxFull", 9_000), ("bounced", "Permanent/General", 9_000)]

    asyncio.run(run())


@pytest.mark.parametrize(("linked", "left"), [(True, ["digest"]), (False, ["marketing"])])
def test_a_complaint_unsubscribes_as_the_mails_link_would(tmp_path: Path, linked: bool, left: list[str]) -> None:
    async def run() -> None:
        token = LinkKeys(KEYS).sign(Unsubscription("zoe", "email", ("digest",), 1))
        link = f"<https://carillon.example/v1/unsubscribe/{token}>" if linked else ""
        async with site_in(tmp_path) as site:
            for _ in range(2):
                assert await site.post(event("Complaint", {}, OURS, link)) == 204
            [stored] = site.values("preferences")
            assert (stored["user"], stored["doc"]["unsubscribed"]) == ("zoe", {"email": left})
            assert {each["outcome"] for each in site.values("outcomes")} == {"complained"}

    asyncio.run(run())


def test_an_event_about_no_mail_of_ours_is_taken_and_a_forged_one_is_401(tmp_path: Path) -> None:
    async def run() -> None:
        async with site_in(tmp_path) as site:
            assert await site.post(event("Bounce", HARD, "unheard of")) == 204
            assert await site.post(event("Bounce", HARD, OURS) | {"Message": "{}"}) == 401
            assert await site.post({"Type": "Notification"}) == 401
            assert (site.values("outcomes"), site.values("endpoints")) == ([], [])

    asyncio.run(run())


def test_what_is_of_another_topic_or_delivered_raw_is_told_apart_from_what_is_forged(tmp_path: Path) -> None:
    def counts() -> list[float]:
        return [CALLBACKS_REFUSED.labels("ses", each)._value.get() for each in ("topic", "form", "signature")]

    async def run() -> None:
        before = counts()
        async with site_in(tmp_path) as site:
            assert await site.post(confirmation(TopicArn=TOPIC + "x")) == 401
            assert site.amazon.asked == []
            assert await site.post({"eventType": "Delivery", "mail": {}}) == 401
            assert await site.post(event("Bounce", HARD, OURS) | {"Message": "{}"}) == 401
        assert [after - was for after, was in zip(counts(), before, strict=True)] == [1, 1, 1]

    asyncio.run(run())


def test_a_message_is_good_while_amazon_repeats_it_and_no_longer(tmp_path: Path) -> None:
    async def run() -> None:
        refused = CALLBACKS_REFUSED.labels("ses", "old")
        before = refused._value.get()
        async with site_in(tmp_path) as site:
            site.now = WRITTEN + AGE_MAX // timedelta(milliseconds=1)
            assert await site.post(event("Bounce", HARD, OURS)) == 204
            site.now += 1
            assert await site.post(event("Bounce", HARD, OURS)) == 401
            assert await site.post(confirmation()) == 401
            assert await site.post(confirmation(Timestamp="yesterday")) == 401
            assert len(site.values("outcomes")) == 1
            assert CONFIRM not in site.amazon.asked
        assert refused._value.get() - before == 3

    asyncio.run(run())


def test_a_subscription_is_confirmed_and_what_fails_comes_again(tmp_path: Path) -> None:
    async def run() -> None:
        async with site_in(tmp_path) as site:
            site.amazon.away = True
            assert await site.post(confirmation()) == 503
            site.amazon.away = False
            assert await site.post(confirmation(SubscribeURL="https://evil.example/")) == 401
            assert await site.post(confirmation()) == 204
            assert site.amazon.asked == [CERTIFICATE, CERTIFICATE, CONFIRM]

    asyncio.run(run())
