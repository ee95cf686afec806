"""What providers saw against what the ledger says: nothing twice, nothing lost, nothing that nobody asked for.

The providers' journals are the truth; topic `attempts` says which message carried which id.
"""

import json
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from crash.left_behind import PROVIDERS, TAKEN, Line, journal, read_topic

from connectors.log.interface import Log

States = dict[tuple[str, ...], Line]
WITHDRAWAL = "withdraw/"
NEVER_SENT = ("EXPIRED", "SUPPRESSED", "SHED")


@dataclass
class Sends:
    """Problems and figures."""

    problems: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)


@dataclass
class Attempts:
    """Topic `attempts` by delivery key."""

    ids: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    key_of_id: dict[str, str] = field(default_factory=dict)
    last: dict[str, Line] = field(default_factory=dict)
    """The last intent or answer of a key: what a restart finds."""
    excused: Counter[str] = field(default_factory=Counter)
    """Intents of a key for which the provider may have taken the one before: it had no answer, or a lost one."""


def read_attempts(log: Log) -> Attempts:
    found = Attempts()
    for record in read_topic(log, "attempts"):
        attempt = json.loads(record.value)
        if attempt["state"] == "intent":
            found.ids[attempt["key"]].add(attempt["provider_id"])
            found.key_of_id[attempt["provider_id"]] = attempt["key"]
            found.excused[attempt["key"]] += _may_have_been_taken(found.last.get(attempt["key"]))
        if attempt["state"] != "closed":
            found.last[attempt["key"]] = attempt
    return found


def _may_have_been_taken(before: Line | None) -> bool:
    """An intent without an answer, or "failed", which is also what a connection lost before the answer is stored as."""
    return before is not None and (before["state"] == "intent" or before["result"] == "failed")


def _had_no_answer(last: Line) -> bool:
    """No provider here is that slow; but a process that stood still finds the deadlines of its tries over."""
    return bool(last["result"] == "failed" and last["detail"] == "no answer within the deadline")


def check_sends(directory: Path, log: Log, states: States, p0_emissions: set[str]) -> Sends:
    """See the module; `p0_emissions` are the emissions of class P0."""
    sends, attempts = Sends(), read_attempts(log)
    taken = _taken(directory, attempts, sends)
    deliveries = {_key(line): line for line in states.values() if line["kind"] == "delivery"}
    emissions = {line["emission_id"]: line for line in states.values() if line["kind"] == "emission"}
    sends.problems += [f"{key} carried several provider ids" for key, ids in attempts.ids.items() if len(ids) > 1]
    for key in taken.keys() - deliveries.keys():
        sends.problems.append(f"a provider took {key}, of which the ledger knows no end")
    for key, line in deliveries.items():
        is_p0 = line["emission_id"] in p0_emissions
        sends.problems += _check_delivery(key, line, taken[key], attempts, is_p0=is_p0)
        sends.counts[f"delivery {line['outcome']}"] += 1
        sends.counts["taken twice, P0" if is_p0 else "taken twice, P1 and P2"] += max(0, taken[key] - 1)
    sends.problems += _check_complete(emissions, deliveries)
    sends.counts["messages taken by providers"] = sum(taken.values())
    return sends


def _key(line: Line) -> str:
    return f"{line['emission_id']}/{line['user']}/{line['channel']}/{line['device']}"


def _taken(directory: Path, attempts: Attempts, sends: Sends) -> Counter[str]:
    """How often each delivery was taken; what no intent stands for is a phantom.

    A withdrawal is no delivery: it goes once at most, after the delivery that it is of.
    """
    taken: Counter[str] = Counter()
    withdrawn: Counter[str] = Counter()
    for provider in PROVIDERS:
        for line in journal(directory, provider):
            key = attempts.key_of_id.get(line["id"])
            if key is not None and key.startswith(WITHDRAWAL):
                withdrawn[key] += line["status"] in TAKEN
            elif line["status"] not in TAKEN:
                sends.counts["refused by providers"] += 1
            elif key is None:
                sends.problems.append(f"{provider} took a message without an intent: {line}")
            else:
                taken[key] += 1
    sends.problems += [f"{key} was sent {times} times" for key, times in withdrawn.items() if times > 1]
    sends.problems += [f"{key}: that was never sent" for key in withdrawn if not taken[_withdrawn_key(key)]]
    sends.counts["withdrawals"] = sum(withdrawn.values())
    return taken


def _withdrawn_key(key: str) -> str:
    """The delivery that it is of; what replaces a notification by the rest of it names its retraction before that."""
    return key[key.index("/em_") + 1 :]


def _check_delivery(key: str, line: Line, taken: int, attempts: Attempts, *, is_p0: bool) -> list[str]:
    outcome = line["outcome"]
    problems = []
    if outcome == "DELIVERED" and not taken:
        problems.append(f"{key} is lost: DELIVERED on the ledger, unknown to the provider")
    if taken > 1 and not is_p0:
        problems.append(f"{key} was sent {taken} times")
    if is_p0 and taken > 1 + attempts.excused[key]:
        problems.append(f"{key} of P0 was sent {taken} times, {attempts.excused[key]} of them behind an open intent")
    if outcome == "UNKNOWN":
        last = attempts.last.get(key)
        if is_p0 or last is None or not (last["state"] == "intent" or _had_no_answer(last)):
            problems.append(f"{key} ended as UNKNOWN, and nothing was open: {last}")
    if outcome in NEVER_SENT and taken and not is_p0:
        problems.append(f"{key} was sent and ended as {outcome}")
    if outcome not in ("DELIVERED", "UNKNOWN", "FELL_BACK", "DEAD_LETTER", *NEVER_SENT):
        problems.append(f"{key} has the outcome {outcome}")
    return problems


def _check_complete(emissions: dict[str, Line], deliveries: dict[str, Line]) -> list[str]:
    """Each (channel, device) of an emission has ended, and nothing else has but what these fell back to."""
    by_emission: dict[str, list[Line]] = defaultdict(list)
    for line in deliveries.values():
        by_emission[line["emission_id"]].append(line)
    problems = [f"deliveries of {name}, which is no emission" for name in by_emission.keys() - emissions.keys()]
    for name, emission in emissions.items():
        found = by_emission.get(name, [])
        first = [line for line in found if line["channel"] in emission["channels"]]
        fell_back = {line["fell_back_to"] for line in found if line["outcome"] == "FELL_BACK"}
        others = {line["channel"] for line in found if line["channel"] not in emission["channels"]}
        if len(first) != emission["deliveries"]:
            problems.append(f"{name}: {len(first)} of {emission['deliveries']} deliveries ended: {emission}")
        if not others <= fell_back:
            problems.append(f"{name}: delivered through {sorted(others)}, which nothing fell back to")
    return problems
