"""What must hold after any fault of the brokers. The judges are the load's own list and the provider's journal."""

import contextlib
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson
from brokers.load import Load, Posted, device_of
from helpers.up import Up
from helpers.waiting import wait_for

from connectors.log.interface import Log, Record

_POLL = timedelta(milliseconds=500)


def records_of(log: Log, topic: str) -> list[Record]:
    """Everything in a topic."""
    places = [(topic, number) for number in range(log.partitions(topic))]
    ends = {place: log.end_offset(*place) for place in places}
    reader = log.reader({place: log.begin_offset(*place) for place in places})
    found: list[Record] = []
    try:
        while any(reader.position()[place] < end for place, end in ends.items()):
            found += reader.poll(10_000, _POLL)
    finally:
        reader.close()
    return found


def sent(up: Up, users: set[str]) -> dict[str, list[tuple[str, float]]]:
    """By user: the provider's names of the messages it took, and when (`time.time`)."""
    owners = {device_of(user): user for user in users}
    found: dict[str, list[tuple[str, float]]] = {user: [] for user in users}
    for line in up.provider("apns"):
        if line["status"] == 200:
            found[owners[line["to"]]].append((line["id"], line["ts"] / 1000))
    return found


def missing(up: Up, load: Load) -> int:
    """Accepted events whose message no provider has taken yet."""
    users = {posted.user for posted in load.posted}
    taken = {user: len({name for name, _ in messages}) for user, messages in sent(up, users).items()}
    accepted = Counter(posted.user for posted in load.posted if posted.accepted_s is not None)
    return sum(max(0, accepted[user] - taken[user]) for user in users)


def what_is_missing(up: Up, load: Load, log: Log) -> str:
    """Accepted events without a message: their answers, what each topic says of them, and how the processes fared."""
    delivered = delivered_at(up, log)
    late = [posted for posted in load.posted if posted.accepted_s and posted.event["event_id"] not in delivered]
    said = [f"a message for every accepted event; {len(late)} without one"]
    for posted in [*late[:1], *late[-1:]]:
        said.append(f"{posted.event} due {posted.due_s:.2f} accepted {posted.accepted_s:.2f} {posted.answers[-2:]}")
        words = (posted.event["event_id"].encode() + b'"', posted.user.encode() + b'"')
        for topic in ("events.p0", "events.p1", "work", "deliver.push", "attempts", "ledger"):
            found = [r for r in records_of(log, topic) if any(word in r.value for word in words)]
            said += [f"{topic} {len(found)} {r.partition}/{r.offset} {r.value[:160]!r}" for r in found[-2:]]
    for topic in ("deliver.push", "attempts", "ledger"):
        said += [f"{topic}/{n} ends at {log.end_offset(topic, n)}" for n in range(log.partitions(topic))]
    said += [f"{line} {_used(line['pid'])}" for line in up.lines[1:] if "pid" in line]
    return "\n".join(said)


def _used(pid: int) -> str:
    """Seconds of processor and of waiting for one, of a process that lives."""
    tasks = Path(f"/proc/{pid}/task").glob("*/schedstat")
    with contextlib.suppress(OSError):
        used = [[int(number) / 1e9 for number in task.read_text().split()[:2]] for task in tasks]
        return "ran {:.1f} s, waited {:.1f} s".format(*map(sum, zip(*used, strict=True))) if used else "is over"
    return "is over"


def assert_nothing_lost_nothing_doubled(up: Up, load: Load, log: Log, *, within_s: float) -> None:
    """Every accepted event was decided once and sent once; P0 may repeat under the same name."""
    wait_for(lambda: missing(up, load) == 0, within_s, lambda: what_is_missing(up, load, log), every_s=0.25)
    users = {posted.user for posted in load.posted}
    for user, messages in sent(up, users).items():
        mine = [posted for posted in load.posted if posted.user == user]
        names = Counter(name for name, _ in messages)
        assert len(names) == len(mine), (user, len(names), len(mine))
        assert mine[0].p0 or max(names.values()) == 1, f"{user} got a message twice"
    _assert_decided_once(load, log)
    wait_for(lambda: up.carillon("ledger", "--check").returncode == 0, 60, "the three laws", every_s=0.25)


def _assert_decided_once(load: Load, log: Log) -> None:
    """On the log itself: one work record for each event of P1, one decision for every event, no UNKNOWN."""
    work = Counter(
        value["event"]["event_id"]
        for value in map(orjson.loads, (record.value for record in records_of(log, "work")))
        if value["k"] == "event"
    )
    assert work == Counter(posted.event["event_id"] for posted in load.posted if not posted.p0)
    decided: dict[str, set[bytes]] = {}
    for record in records_of(log, "ledger"):
        value = orjson.loads(record.value)
        if value["kind"] == "decision":
            assert value["outcome"] == "EMITTED", value
            decided.setdefault(value["event_id"], set()).add(dict(record.headers)["seq"])
        assert value["kind"] != "delivery" or value["outcome"] == "DELIVERED", value
    assert set(decided) == {posted.event["event_id"] for posted in load.posted}
    twice = {event: seqs for event, seqs in decided.items() if len(seqs) > 1}
    assert not twice, f"decided twice: {twice}"


def delivered_at(up: Up, log: Log) -> dict[str, float]:
    """When the provider took each event's message for the first time (`time.time`), through the ledger's names."""
    taken: dict[str, float] = {}
    for line in up.provider("apns"):
        if line["status"] == 200:
            taken.setdefault(line["id"], line["ts"] / 1000)
    found: dict[str, float] = {}
    for record in records_of(log, "ledger"):
        value: dict[str, Any] = orjson.loads(record.value)
        if value["kind"] == "delivery" and value["provider_id"] in taken:
            found[value["first_event_id"]] = taken[value["provider_id"]]
    return found


def waits_after(end: float, posted: list[Posted], delivered: dict[str, float]) -> list[float]:
    """For what was due before the end of an outage and not delivered by then: how long after it, sorted."""
    backlog = [delivered[each.event["event_id"]] - end for each in posted if each.due_s < end]
    return sorted(wait for wait in backlog if wait > 0)


def refusals(load: Load, begin: float, end: float) -> list[float]:
    """How long posts that began in this time took to be refused, in seconds, sorted."""
    answers = [answer for posted in load.posted for answer in posted.answers]
    return sorted(a.took_s for a in answers if begin <= a.began_s <= end and a.status not in (200, 202))
