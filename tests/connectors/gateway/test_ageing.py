"""Push tokens that no app has registered for long, on a real log and on a real gateway process."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
from helpers.gateway import now_ms, running
from helpers.waiting import wait_for

from connectors.gateway.ageing import Ageing
from connectors.gateway.directory import Directory
from connectors.gateway.problems import ProblemError
from connectors.gateway.records import endpoint_record, gone_record
from connectors.gateway.writer import SettingWriter
from connectors.log.embedded.log import EmbeddedLog
from connectors.log.grouped import BatchingAppender
from connectors.log.interface import NewRecord, Record
from connectors.log.topics import topic_specs
from state.model.settings import ENDPOINT

DAY_MS = 86_400_000
NOW = 1_767_225_600_000
AGE_MAX = timedelta(days=90)


def endpoint(user: str, registered_at: int, channel: str = "push", endpoint_id: str = "phone") -> NewRecord:
    given = {"platform": "ios", "address": f"{user}-{endpoint_id}-{registered_at}"}
    return endpoint_record(user, channel, endpoint_id, given, registered_at, lambda _topic: 4)


class Tokens:
    """A directory over a log, with the tokens that it was given."""

    def __init__(self, path: Path) -> None:
        self.log = EmbeddedLog(path, clock=lambda: NOW)
        self.log.ensure_topics(topic_specs(4, timedelta(days=7)))
        self.directory = Directory(path / "directory.sqlite", lambda _channel, _platform, address: address)
        self.appender = BatchingAppender(self.log)
        writer = SettingWriter(self.appender, self.directory, self.log.partitions, deadline=timedelta(seconds=30))
        self.ageing = Ageing(self.directory, writer, age_max=AGE_MAX, clock=lambda: NOW)

    def give(self, records: Sequence[NewRecord]) -> None:
        offsets = self.log.append(records)
        self.directory.apply(
            [
                Record(new.topic, new.partition, offset, NOW, new.key, new.value, new.headers)
                for new, offset in zip(records, offsets, strict=True)
            ]
        )

    def retire(self) -> int:
        return asyncio.run(self.ageing.retire())

    def verdicts(self) -> set[tuple[str, int]]:
        """Of whom the log says that a token is gone, and as of when."""
        places = {("endpoints", partition): 0 for partition in range(4)}
        reader = self.log.reader(places)
        read = [ENDPOINT.decode(each.value) for each in reader.poll(10_000, timedelta())]
        reader.close()
        return {(each.user, int(each.gone_at)) for each in read if each.gone_at is not msgspec.UNSET}


@pytest.fixture
def tokens(tmp_path: Path) -> Iterator[Tokens]:
    made = Tokens(tmp_path)
    yield made
    made.appender.close()
    made.directory.close()
    made.log.close()


def test_a_token_of_ninety_days_is_retired_as_of_its_registration(tokens: Tokens) -> None:
    old, young = NOW - 90 * DAY_MS, NOW - 90 * DAY_MS + 1
    tokens.give([endpoint("ann", old), endpoint("bob", young), endpoint("eve", 1)])
    assert tokens.retire() == 2
    assert tokens.verdicts() == {("ann", old), ("eve", 1)}
    assert [len(tokens.directory.devices(user)) for user in ("ann", "bob", "eve")] == [0, 1, 0]
    assert tokens.retire() == 0
    assert [cause for _, cause in tokens.directory.retired("ann")] == ["expired"]
    tokens.give([endpoint("bob", young + 1), gone_record("bob", "push", "phone", NOW, lambda _topic: 4)])
    assert [cause for _, cause in tokens.directory.retired("bob")] == ["gone"]
    tokens.give([gone_record("ann", "push", "phone", NOW, lambda _topic: 4)])
    assert [cause for _, cause in tokens.directory.retired("ann")] == ["expired"], "the first cause holds"
    tokens.give([endpoint("ann", NOW)])
    assert tokens.directory.retired("ann") == []


def test_whoever_was_registered_again_or_is_no_token_or_has_no_time_stays(tokens: Tokens) -> None:
    tokens.give([
        endpoint("again", NOW - 91 * DAY_MS), endpoint("again", NOW - DAY_MS), endpoint("mail", 1, "email", "m"),
        endpoint("timeless", 0), endpoint("gone", 1), gone_record("gone", "push", "phone", 1, lambda _topic: 4),
    ])  # fmt: skip
    assert tokens.retire() == 0
    assert tokens.verdicts() == {("gone", 1)}


def test_a_registration_at_that_moment_outlives_the_verdict(tokens: Tokens) -> None:
    """The verdict is behind it in the log, and of a registration before it."""
    old = NOW - 100 * DAY_MS
    tokens.give([endpoint("ann", old), endpoint("ann", NOW), gone_record("ann", "push", "phone", old, lambda _: 4)])
    assert [each.registered_at for each in tokens.directory.devices("ann")] == [NOW]


def test_many_are_retired_in_batches(tokens: Tokens) -> None:
    tokens.give([endpoint(f"u{number}", 1 + number) for number in range(450)])
    assert tokens.retire() == 450
    assert len(tokens.verdicts()) == 450


def test_a_log_that_does_not_acknowledge_leaves_the_rest_for_the_next_look(tokens: Tokens) -> None:
    tokens.give([endpoint("ann", 1)])
    tokens.appender.close()
    with pytest.raises(ProblemError):
        tokens.retire()
    assert len(tokens.directory.devices("ann")) == 1


def test_a_gateway_looks_when_it_starts(tmp_path: Path) -> None:
    log = EmbeddedLog(tmp_path, clock=now_ms)
    log.ensure_topics(topic_specs(4, timedelta(days=1)))
    log.append([endpoint("ann", now_ms() - 91 * DAY_MS), endpoint("bob", now_ms() - 89 * DAY_MS)])
    log.close()
    with running(tmp_path) as gateway:
        wait_for(lambda: [each for each in gateway.values("endpoints") if "gone_at" in each])
        assert {each["user"] for each in gateway.values("endpoints") if "gone_at" in each} == {"ann"}
        assert len(gateway.get("/v1/users/bob/endpoints").json["endpoints"]) == 1
        wait_for(lambda: gateway.get("/v1/users/ann/endpoints").json["endpoints"] == [])
        (retired,) = gateway.get("/v1/users/ann/endpoints").json["retired"]
        assert (retired["channel"], retired["id"], retired["cause"]) == ("push", "phone", "expired")
        assert "retired" not in gateway.get("/v1/users/bob/endpoints").json
