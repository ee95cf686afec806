"""A data directory with a log, a sandbox and flow processes, as delivery tests use them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from helpers.waiting import wait_for

from connectors.control import kill_record
from connectors.log.embedded.log import EmbeddedLog
from connectors.log.interface import NewRecord, Record
from connectors.log.topics import topic_specs
from flows.process.run_files import ready_file
from state.model.event import EVENT, Event
from state.model.keys import key_group, partition_of_group
from state.model.settings import Kill

PARTITIONS = 2


def now_ms() -> int:
    return time.time_ns() // 1_000_000


Device = tuple[str, str] | tuple[str, str, str | None]
"""Name, address and platform (ios unless given)."""


class System:
    """One data directory. Every process is started, and killed, by its pid."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.log = EmbeddedLog(directory, clock=now_ms)
        self.log.ensure_topics(topic_specs(PARTITIONS, timedelta(days=7)))
        self._work_offset = 0

    def environment(self) -> dict[str, str]:
        given = {"CARILLON_DATA_DIR": str(self.directory), "CARILLON_LOG__PARTITIONS": str(PARTITIONS)}
        if (self.directory / "carillon.toml").exists():
            given["CARILLON_CONFIG"] = str(self.directory / "carillon.toml")
        return {**os.environ, **given}

    @contextmanager
    def flow(self, name: str, module: str = "flows.up.launch") -> Iterator[subprocess.Popen[bytes]]:
        ready = ready_file(self.directory, name)
        ready.unlink(missing_ok=True)
        process = self.start(name, module)
        try:
            yield process
            wait_for(lambda: ready.exists() or process.poll() is not None)  # before that it cannot drain
        finally:
            stop(process)

    def start(self, name: str, module: str = "flows.up.launch") -> subprocess.Popen[bytes]:
        with (self.directory / f"{name}.out").open("ab") as output:
            return subprocess.Popen(
                [sys.executable, "-m", module, name, "flows", name],
                stdin=subprocess.PIPE, stdout=output, stderr=output, env=self.environment(),
            )  # fmt: skip

    def output(self, name: str) -> Callable[[], str]:
        """What a wait in vain has to say: the end of what the flow printed."""
        return lambda: f"{name} to go on; it printed:\n{(self.directory / f'{name}.out').read_text()[-4_000:]}"

    def emission(self, user: str, channel: str, devices: Sequence[Device], **changes: Any) -> NewRecord:
        """The record that decide would write."""
        self._work_offset += 1
        group, now = key_group(user), now_ms()
        value: dict[str, Any] = {
            "emission_id": f"em_{self._work_offset:032}", "user": user, "type": "like", "object": "photo1", "count": 1,
            "actors": ["ann"], "actor_count": 1, "first": True, "first_event_id": f"e{self._work_offset}",
            "priority": "P1", "sender_id": "social", "campaign": None, "category": "social", "channel": channel,
            "devices": addresses(devices), "rest": [], "policy": "first", "payload": None, "locale": "en", "name": None,
            "decided_at": now, "ingested_at": now, "valid_until": now + 3_600_000, "digest_items": None,
        }  # fmt: skip
        value |= changes
        partition = partition_of_group(group, PARTITIONS) + (PARTITIONS if value["priority"] == "P2" else 0)
        sequence = f"d:{group}:{self._work_offset}:0".encode()
        headers = (("schema", b"emission/1+json"), ("seq", sequence))
        return NewRecord(f"deliver.{channel}", partition, user.encode(), json.dumps(value).encode(), headers)

    def withdrawal(self, user: str, to: Sequence[Device], **changes: Any) -> NewRecord:
        """What decide would write for a retraction that found nothing pending."""
        self._work_offset += 1
        group = key_group(user)
        value: dict[str, Any] = {
            "event_id": f"r{self._work_offset}", "user": user, "type": "like", "object": "photo1", "actor": "ann",
            "parent_event_id": None, "priority": "P1", "sender_id": "social", "devices": addresses(to),
            "decided_at": now_ms(),
        } | changes  # fmt: skip
        headers = (("schema", b"withdrawal/1+json"), ("seq", f"d:{group}:{self._work_offset}:0".encode()))
        partition = partition_of_group(group, PARTITIONS)
        return NewRecord("deliver.push", partition, user.encode(), json.dumps(value).encode(), headers)

    def p0(self, target: str, type_name: str = "otp", **changes: Any) -> NewRecord:
        """An accepted P0 event, as the gateway would append it."""
        self._work_offset += 1
        now = now_ms()
        values: dict[str, Any] = {
            "event_id": f"p0_{self._work_offset}", "type": type_name, "priority": "P0", "target": target,
            "sender_id": "accounts", "payload": {"code": f"{self._work_offset:06}"}, "ttl_ms": 600_000,
            "ingested_at": now,
        }  # fmt: skip
        event = Event(**(values | changes))
        partition = partition_of_group(key_group(target), PARTITIONS)
        return NewRecord("events.p0", partition, target.encode(), EVENT.encode(event), (("schema", b"event/1+json"),))

    def endpoint(self, user: str, channel: str, name: str, address: str, **changes: Any) -> NewRecord:
        value = {
            "user": user, "channel": channel, "id": name, "platform": "ios", "address": address, "state": "active",
            "registered_at": now_ms() - 1_000,
        } | changes  # fmt: skip
        key = f"{user}\0{channel}\0{name}".encode()
        return self._of_user("endpoints", user, key, value, b"endpoint/1+json")

    def preference(self, user: str, doc: dict[str, Any]) -> NewRecord:
        return self._of_user("preferences", user, user.encode(), {"user": user, "doc": doc}, b"preference/1+json")

    def _of_user(self, topic: str, user: str, key: bytes, value: dict[str, Any], schema: bytes) -> NewRecord:
        partition = partition_of_group(key_group(user), PARTITIONS)
        return NewRecord(topic, partition, key, json.dumps(value).encode(), (("schema", schema),))

    def decisions(self) -> dict[tuple[str, str], dict[str, Any]]:
        """The decision record that holds, by event and user."""
        return {(v["event_id"], v["user"]): v for v in self.values("ledger") if v["kind"] == "decision"}

    def feed(self, records: Sequence[NewRecord]) -> None:
        self.log.append(records)

    def kill_switch(self, scope: Any, value: str = "", *, on: bool = True) -> None:
        self.log.append([kill_record(Kill(scope, value, on=on))])

    def read(self, topic: str) -> list[Record]:
        records: list[Record] = []
        for partition in range(self.log.partitions(topic)):
            reader = self.log.reader({(topic, partition): self.log.begin_offset(topic, partition)})
            while got := reader.poll(10_000, timedelta()):
                records += got
            reader.close()
        return records

    def values(self, topic: str) -> list[dict[str, Any]]:
        return [json.loads(record.value) for record in self.read(topic)]

    def deliveries(self) -> dict[tuple[str, str, str], dict[str, Any]]:
        """The delivery record that holds, by emission, channel and device."""
        return {
            (value["emission_id"], value["channel"], value["device"]): value
            for value in self.values("ledger")
            if value["kind"] == "delivery"
        }

    def counts(self, owner: str) -> dict[int, dict[str, Any]]:
        return {
            value["group"]: value
            for value in self.values("ledger")
            if value["kind"] == "counts" and value["owner"] == owner
        }


def addresses(devices: Sequence[Device]) -> list[dict[str, Any]]:
    return [
        {"id": name, "platform": platform[0] if platform else "ios", "address": address, "registered_at": 1_000}
        for name, address, *platform in devices
    ]


def stop(process: subprocess.Popen[bytes]) -> None:
    """Drain; it must end by itself, with 0."""
    if process.poll() is None:
        os.kill(process.pid, signal.SIGTERM)
    assert process.wait(timeout=90) == 0
    assert process.stdin is not None
    process.stdin.close()


def kill(process: subprocess.Popen[bytes]) -> None:
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait(timeout=40) == -signal.SIGKILL, "the kill did not bite"
    assert process.stdin is not None
    process.stdin.close()


def token(number: int | str) -> str:
    return str(number).encode().hex().ljust(64, "0")
