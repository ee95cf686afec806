"""The laws of sending, over what the providers themselves wrote down."""

from __future__ import annotations

import json
from collections import Counter

from helpers.feeding import System
from helpers.sandbox_process import Sandbox

from connectors.log.interface import NewRecord

TAKEN = (200, 201, 250)


Key = tuple[str, str, str]


Outcome = tuple[str, str | None, str | None]


def handed_out(records: list[NewRecord]) -> set[Key]:
    """The (emission, channel, device) that decide handed out."""
    values = [json.loads(record.value) for record in records]
    return {(value["emission_id"], value["channel"], device["id"]) for value in values for device in value["devices"]}


def taken(sandbox: Sandbox) -> Counter[str]:
    """How often each delivery was taken by its provider; what is withdrawn is none."""
    entries = sandbox.journal("apns") + sandbox.journal("smtp")
    return Counter(
        str(entry["id"])
        for entry in entries
        if entry["status"] in TAKEN and not {"withdraws", "replaces"} & entry.keys()
    )


def settled(system: System, records: list[NewRecord]) -> bool:
    """Every delivery has its record, each fallback too, and the counts agree with them."""
    deliveries = system.deliveries()
    fallbacks = {(key[0], str(r["fell_back_to"]), "m") for key, r in deliveries.items() if r["outcome"] == "FELL_BACK"}
    if deliveries.keys() != handed_out(records) | fallbacks:
        return False
    counts = system.counts("deliver").values()
    accounted = sum(count["accepted"] + count["fallbacks"] for count in counts)
    return accounted == len(deliveries) and not any(count["in_flight"] for count in counts)


def check(system: System, sandbox: Sandbox) -> dict[Key, Outcome]:
    """The laws of sending over the providers' own journals; gives the outcomes."""
    deliveries = system.deliveries()
    seen = taken(sandbox)
    assert [identity for identity, times in seen.items() if times > 1] == [], "P1 or P2 sent twice"
    delivered = {record["provider_id"] for record in deliveries.values() if record["outcome"] == "DELIVERED"}
    unknown = {record["provider_id"] for record in deliveries.values() if record["outcome"] == "UNKNOWN"}
    assert delivered <= seen.keys(), "on the ledger, and no provider took it"
    assert seen.keys() <= delivered | unknown, "taken, and the ledger does not know"
    told = told_of(system)
    assert all(len(states) == 1 for states in told.values()), "a delivery was told in two ways"
    return {key: states.pop() for key, states in told.items()}


def told_of(system: System) -> dict[Key, set[Outcome]]:
    """Every state that the ledger ever told of a delivery, without times."""
    told: dict[Key, set[Outcome]] = {}
    for value in system.values("ledger"):
        if value["kind"] == "delivery":
            key = (value["emission_id"], value["channel"], value["device"])
            told.setdefault(key, set()).add((value["outcome"], value["reason"], value["fell_back_to"]))
    return told
