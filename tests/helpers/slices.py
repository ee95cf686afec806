"""Slices of made-up fan-outs, with everything that may differ in one, and what befalls their recipients later."""

import random
from functools import cache

import numpy as np
import pyarrow as pa
from helpers.records import PARTITIONS, decision, delivery

from connectors.log.interface import NewRecord
from state.model.envelope import output_headers
from state.model.keys import emission_id, key_group, partition_of_group, user_tag
from state.slices import SCHEMA, Recipients, SliceEnding, SliceFacts, encode_slices

GROUPS = (0, 3, 130)
ENDINGS = (
    SliceEnding("INBOX", inbox=True, group="closed"),
    SliceEnding("EMITTED", inbox=True, channels=("push", "email"), emitted=True, counted=True),
    SliceEnding("HELD", reason="quiet_hours", channels=("push",)),
    SliceEnding("SUPPRESSED", reason="muted"),
)


@cache
def people(group: int, number: int) -> list[str]:
    """Users of a key group."""
    found: list[str] = []
    names = (f"user{at}ü" for at in range(1 << 30))
    while len(found) < number:
        name = next(names)
        found += [name] if key_group(name) == group else []
    return found


def random_facts(dice: random.Random, number: int, now_ms: int) -> SliceFacts:
    """Of an event with this number."""
    return SliceFacts(
        event_id=f"post{number}", type=dice.choice(("new_post", "campaign")), priority=dice.choice(("P1", "P2")),
        sender_id=dice.choice(("app", "shop")), decided_at=now_ms + dice.randrange(50), ingested_at=now_ms,
        place=1_000 + number, control_version=-1, registry_version=1, tzdata_version="2025b",
        endings=tuple(dice.sample(ENDINGS, dice.randrange(1, 5))), actor=dice.choice((None, "star")),
        object=dice.choice((None, "photo", f"photo{number}")), follower_age_ms=dice.choice((None, 5)),
    )  # fmt: skip


def slice_record(facts: SliceFacts, group: int, users: list[str], dice: random.Random, ordinal: int = 0) -> NewRecord:
    """A slice of these users of a key group, who end as dice have it."""
    rows = len(users)
    ending = np.array([dice.randrange(len(facts.endings)) for _ in users], np.int32)
    emitted = np.array([each.emitted for each in facts.endings])[ending]
    held = np.array([each.outcome == "HELD" for each in facts.endings])[ending]
    ages = np.array([dice.choice((-1, 5, 900)) for _ in users], np.int64)
    recipients = Recipients(
        users=pa.array(users, pa.string()),
        tags=np.frombuffer(b"".join(map(user_tag, users)), "<u8"),
        ending=ending,
        cap_hour=np.array([dice.randrange(4) for _ in users], np.int32),
        cap_day=np.full(rows, dice.choice((1, 300)), np.int32),
        preference_version=ages,
        endpoint_version=ages[::-1].copy(),
        deliveries=emitted * np.int64(dice.randrange(1, 3)),
        until=held * np.int64(facts.decided_at + dice.choice((1_000, 90_000_000))),
    )
    headers = output_headers(SCHEMA, "d", group, facts.place, ordinal)
    value = encode_slices([facts], [recipients])[0]
    return NewRecord("ledger", partition_of_group(group, PARTITIONS), b"%d" % group, value, headers)


def random_records(dice: random.Random, number: int, now_ms: int) -> list[NewRecord]:
    """Slices of an event, now and then one twice, and later states and deliveries of some recipients."""
    facts, found = random_facts(dice, number, now_ms), []
    for group in dice.sample(GROUPS, dice.randrange(1, len(GROUPS) + 1)):
        users = dice.sample(people(group, 12), dice.randrange(1, 13))
        record = slice_record(facts, group, users, dice)
        found += [record] * dice.choice((1, 1, 1, 2))
        for user in dice.sample(users, min(len(users), dice.randrange(3))):
            emission = emission_id(user, facts.type, facts.object, facts.event_id)
            told = {"sender_id": facts.sender_id, "type": facts.type, "object": facts.object}
            times = {"decided_at": facts.decided_at + 100, "ingested_at": facts.ingested_at}
            ended = decision(user, facts.event_id, "EMITTED", ("d", facts.place + dice.randrange(-1, 2), 9),
                             emission_id=emission, **told, **times)  # fmt: skip
            found.append(ended)
            outcome = dice.choice(("DELIVERED", "DEAD_LETTER"))
            found.append(delivery(user, emission, "phone", outcome, facts.decided_at + 200, type=facts.type))
    return found
