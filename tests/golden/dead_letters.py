"""A dead letter of every kind, and what an operator decided about them."""

from __future__ import annotations

from golden.scenario import GROUP, NOON, PARTITIONS, event

from connectors.log import NewRecord, Record
from flows.steps.dead_letters import dead_action, dead_letter
from state.model.dead_letter import LETTER_SCHEMA, DeadAction, DeadLetter, encode_letter, failed_delivery_id
from state.model.errors import MalformedRecordError
from state.model.event import EVENT
from state.model.work import EventWork, encode_work


def _record(topic: str, partition: int, offset: int, value: bytes) -> Record:
    return Record(topic, partition, offset, NOON, b"u1", value, ())


def records() -> list[NewRecord]:
    """What is appended to `dead_letters`."""
    made = event("e1", "reply", NOON, target="u1")
    work = encode_work(EventWork(g=GROUP, stamp=NOON, src=("events.p1", 1, 4, GROUP), event=made, users=["u1"]))
    broken = EVENT.encode(made)[:-9]
    malformed = MalformedRecordError("event: Invalid enum value 'secret' - at `$.fan_out_type`")
    came_from = ("deliver.push", 5, 9)
    failed = DeadLetter(
        id=failed_delivery_id("deliver", came_from, "m1/u1/push/phone"), source=came_from, kind="failed",
        error="gave_up", event_id="e1", sender_id="social", type="reply", stage="deliver", at=NOON,
    )  # fmt: skip
    common = {"at": NOON, "partitions": PARTITIONS}
    return [
        dead_letter(_record("events.p1", 2, 7, broken), malformed, stage="sequence", **common),
        dead_letter(_record("work", 1, 8, work), ValueError("of u1"), stage="decide", group=GROUP, **common),
        dead_letter(_record("schedule", 0, 3, EVENT.encode(made)), None, stage="schedule", **common),
        NewRecord("dead_letters", 1, b"u1", encode_letter(failed), (("schema", LETTER_SCHEMA),)),
        dead_action(DeadAction("schedule/schedule/0/3", "retried", NOON), 0),
        dead_action(DeadAction("sequence/events.p1/2/7", "discarded", NOON), 2),
    ]
