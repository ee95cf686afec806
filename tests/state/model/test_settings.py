"""What is true now, read by everybody who reads it: one verdict on each document (RULES 1), whoever asks."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from connectors.control import ControlWatcher
from connectors.gateway.directory import Directory
from connectors.log.embedded.log import EmbeddedLog
from connectors.log.interface import NewRecord, Record, TopicSpec
from flows.steps.transactional.settings import LaneSettings
from operators.sequence import sequence_setting
from operators.simulation import Simulation
from state.model.errors import MalformedRecordError
from state.model.registry import load_registry
from state.model.work import EndpointWork, FollowWork, KillWork, PreferenceWork, ReadWork, Work
from state.sequence.store import SequenceState
from state.transactional.store import TransactionalStore

NOW = 1_700_000_000_000
KEYS = {
    "preferences": ("user",),
    "endpoints": ("user", "channel", "id"),
    "profiles": ("user",),
    "follows": ("followee", "follower"),
    "reads": ("user",),
    "control": ("scope", "value"),
}
KINDS = {"preferences": "preference", "endpoints": "endpoint", "follows": "follow", "reads": "read", "control": "kill"}
Found = Any
"""What a reader holds to be true after a document; MALFORMED: it does not count, and what was true before stays."""
MALFORMED = "malformed"


def _record(topic: str, body: dict[str, Any], offset: int = 0) -> Record:
    key = "\0".join(str(body.get(name)) for name in KEYS[topic])
    return Record(topic, 0, offset, NOW, key.encode(), json.dumps(body).encode(), ())


def _meant(work: Work) -> Found:
    match work:
        case PreferenceWork():
            return work.doc
        case EndpointWork():
            return work.state == "active"
        case FollowWork():
            return work.on
        case ReadWork():
            return NOW if work.up_to is None else work.up_to
        case KillWork():
            return {(work.scope, work.value or "")} if work.on else set()
    raise AssertionError(work)


def _sequence(_: Path, topic: str, body: dict[str, Any]) -> Found:
    state = SequenceState()
    state.stamp = NOW
    try:
        works = sequence_setting(state, topic, json.dumps(body).encode(), (topic, 0, 0)).works
    except MalformedRecordError:
        return MALFORMED
    return _meant(works[0]) if works else None


def _simulation(_: Path, topic: str, body: dict[str, Any]) -> Found:
    try:
        works = list(Simulation(load_registry()).records({"kind": KINDS[topic], "ts": NOW, **body}))
    except MalformedRecordError:
        return MALFORMED
    return _meant(works[0][1]) if works else None


def _gateway(path: Path, topic: str, body: dict[str, Any]) -> Found:
    with closing(Directory(path / "directory.sqlite", lambda _channel, _platform, address: address)) as directory:
        if directory.follow([_record(topic, body)], ()):
            return MALFORMED
        if topic == "preferences":
            return directory.preference("u").document
        return directory.device("u", "push", "d") is not None


def _append(path: Path, *records: Record) -> EmbeddedLog:
    log = EmbeddedLog(path, clock=lambda: time.time_ns() // 1_000_000)
    topics = ("preferences", "endpoints", "profiles", "control", "registry")
    log.ensure_topics([TopicSpec(topic, 1, compacted=True) for topic in topics])
    log.append([NewRecord(r.topic, 0, r.key, r.value, r.headers) for r in records])
    return log


def _p0(path: Path, topic: str, body: dict[str, Any]) -> Found:
    with (
        closing(_append(path, _record(topic, body))) as log,
        closing(TransactionalStore(path / "lane.sqlite")) as store,
    ):
        settings = LaneSettings(log, store, 0, load_registry())
        settings.close()
        if topic == "control":
            return set(settings.switches()) or None
        found = settings.of("u")
        return _meant(found[0].work) if found else MALFORMED


def _watcher(path: Path, topic: str, body: dict[str, Any]) -> Found:
    with (
        closing(_append(path, _record(topic, body))) as log,
        closing(ControlWatcher(log, process="p", run_dir=None)) as watcher,
    ):
        return set(watcher.start().switches) or None


Reader = Callable[[Path, str, dict[str, Any]], Found]
READERS: dict[str, list[Reader]] = {
    "preferences": [_sequence, _simulation, _gateway, _p0],
    "endpoints": [_sequence, _simulation, _gateway, _p0],
    "follows": [_sequence, _simulation],
    "reads": [_sequence, _simulation],
}
ENDPOINT = {"user": "u", "channel": "push", "id": "d", "address": "a"}
FOLLOW = {"followee": "v", "follower": "u"}
VERDICTS = [
    ("preferences", {"user": "u", "doc": {"master": False}}, {"master": False}),
    ("preferences", {"user": "u"}, {}),
    ("preferences", {"user": "u", "doc": None}, {}),
    ("preferences", {"user": "u", "doc": []}, MALFORMED),
    ("preferences", {"user": "u", "doc": "none"}, MALFORMED),
    ("endpoints", {**ENDPOINT, "state": "active"}, True),
    ("endpoints", {**ENDPOINT, "state": "invalid"}, False),
    ("endpoints", ENDPOINT, True),
    ("endpoints", {**ENDPOINT, "state": None, "platform": None}, True),
    ("endpoints", {**ENDPOINT, "state": 1}, MALFORMED),
    ("endpoints", {**ENDPOINT, "platform": 5}, MALFORMED),
    ("follows", FOLLOW, True),
    ("follows", {**FOLLOW, "on": None}, True),
    ("follows", {**FOLLOW, "on": False}, False),
    ("follows", {**FOLLOW, "on": 0}, MALFORMED),
    ("reads", {"user": "u"}, NOW),
    ("reads", {"user": "u", "up_to": None}, NOW),
    ("reads", {"user": "u", "up_to": 5}, 5),
    ("reads", {"user": "u", "up_to": 1 << 60}, MALFORMED),
    ("reads", {"user": "u", "up_to": "now"}, MALFORMED),
]
KILLS = [
    ({"scope": "all"}, {("all", "")}),
    ({"scope": "type", "value": "like"}, {("type", "like")}),
    ({"scope": "type", "value": "like", "on": None}, {("type", "like")}),
    ({"scope": "type", "value": "like", "on": False}, None),
    ({"scope": "planet", "value": "earth"}, MALFORMED),
    ({"scope": "type"}, MALFORMED),
    ({"scope": "campaign", "value": None}, MALFORMED),
    ({"scope": "type", "value": "like", "on": "yes"}, MALFORMED),
    ({"value": "like"}, MALFORMED),
    ({"scope": "door", "value": "shop"}, None),
]


@pytest.mark.parametrize(
    ("reader", "topic", "body", "verdict"),
    [(reader, *each) for each in VERDICTS for reader in READERS[each[0]]],
    ids=lambda value: value.__name__.strip("_") if callable(value) else None,
)
def test_every_reader_gives_the_same_verdict(
    reader: Reader, topic: str, body: dict[str, Any], verdict: Found, tmp_path: Path
) -> None:
    assert reader(tmp_path, topic, body) == verdict


@pytest.mark.parametrize(("body", "verdict"), KILLS)
@pytest.mark.parametrize("decides", [_sequence, _simulation])
def test_who_decides_refuses_a_switch_that_names_nothing(
    decides: Reader, body: dict[str, Any], verdict: Found, tmp_path: Path
) -> None:
    assert (decides(tmp_path, "control", body) or None) == verdict


@pytest.mark.parametrize(("body", "verdict"), KILLS)
@pytest.mark.parametrize("stops", [_p0, _watcher])
def test_who_stops_out_of_band_passes_over_a_switch_that_names_nothing(
    stops: Reader, body: dict[str, Any], verdict: Found, tmp_path: Path
) -> None:
    assert stops(tmp_path, "control", body) == (None if verdict == MALFORMED else verdict)


def test_p0_keeps_what_was_true_before_a_document_that_does_not_decode(tmp_path: Path) -> None:
    """As decide does, which never sees such a document."""
    good = _record("preferences", {"user": "u", "doc": {"master": False}})
    bad = _record("preferences", {"user": "u", "doc": 5})
    with closing(_append(tmp_path, good)) as log, closing(TransactionalStore(tmp_path / "lane.sqlite")) as store:
        settings = LaneSettings(log, store, 0, load_registry())
        log.append([NewRecord(bad.topic, 0, bad.key, bad.value, ())])
        settings.catch_up()
        settings.close()
        assert [_meant(each.work) for each in settings.of("u")] == [{"master": False}]
