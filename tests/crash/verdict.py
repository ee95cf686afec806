"""The judge of a crash run: decision log against reference model, the load's truth, providers' journals.

    judge(directory, environment, truth) -> Verdict

The system must be stopped. `Verdict.problems` is empty when everything is exactly as RULES want it; `counts` are the
figures. The ledger is taken from its topic and, once more, from the archive.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from crash.left_behind import (
    Line,
    P0Decision,
    archived,
    inbox_rows,
    key_of,
    last_states,
    log_of,
    p0_decisions,
    read_topic,
)
from crash.model_input import DecisionLog, SettingTopics, p0_simulations, registry_of
from crash.truth import Truth
from crash.verdict_admission import check_accepted, check_bindings, check_settings, check_sources
from crash.verdict_sends import check_sends
from reference.model import simulate

from connectors.log.interface import Log

_SHOWN = 5
PASSED_OVER = "passed_over "
_NAMES = re.compile(r"\S*[0-9/]\S*")
_DECISION = (
    "event_id", "user", "outcome", "reason", "inbox", "emission_id", "channels", "decided_at", "until", "cap_hour",
    "cap_day",
)  # fmt: skip
_EMISSION = (
    "emission_id", "first_event_id", "user", "type", "object", "count", "actors", "channels", "decided_at",
)  # fmt: skip
_FIELDS = {"decision": _DECISION, "emission": _EMISSION}
P0_SETTINGS = ("preferences", "endpoints", "profiles", "control")


@dataclass
class Verdict:
    """What is wrong, and how much was looked at."""

    problems: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def differ(self, what: str, expected: Mapping[Any, object], found: Mapping[Any, object]) -> None:
        """Every key must have the same value on both sides."""
        keys = [key for key in {**expected, **found} if expected.get(key) != found.get(key)]
        shown = [
            f"{what} {key}\n    expected {expected.get(key)}\n    found    {found.get(key)}" for key in keys[:_SHOWN]
        ]
        self.problems += shown
        if len(keys) > _SHOWN:
            self.problems.append(f"{what}: {len(keys)} differ in all")

    def found(self, problems: Sequence[str]) -> None:
        """Take over what a check found; of many of a kind (the same but for names and numbers) the first ones."""
        kinds: dict[str, list[str]] = {}
        for problem in problems:
            kinds.setdefault(_NAMES.sub("", problem), []).append(problem)
        for alike in kinds.values():
            self.problems += alike[:_SHOWN]
            if len(alike) > _SHOWN:
                self.problems.append(f"... and {len(alike) - _SHOWN} more like these")


@dataclass
class Expected:
    """What the reference model makes of the decision logs."""

    ledger: dict[tuple[str, ...], Line]
    inbox: dict[tuple[str, str], Line]
    p0_emissions: set[str]


def judge(directory: Path, environment: Mapping[str, str], truth: Truth, *, may_fail: bool = False) -> Verdict:
    """See the module. `may_fail`: deliveries may have ended as DEAD_LETTER and have left dead letters."""
    verdict = Verdict()
    with log_of(directory, environment) as (_, log):
        decisions = DecisionLog(read_topic(log, "work"), log.partitions("work"))
        p0 = p0_decisions(directory)
        states = last_states(read_topic(log, "ledger"))
        expected = expect(log, decisions, p0, _passed_over(states.values()))
        _check_ledger(verdict, expected, states, archived(directory, log))
        users = sorted({work["user"] for _, _, work in decisions.works if work["k"] == "preference"})
        users = sorted({line["user"] for line in states.values()} | set(users))
        rows = {(row["user"], row["first_event_id"]): row for row in inbox_rows(directory, log, users)}
        verdict.differ("inbox row", dict(expected.inbox), dict(rows))
        verdict.found(check_accepted(truth, decisions, p0))
        verdict.found(check_sources(decisions))
        verdict.found(check_settings(log, decisions))
        verdict.found(check_bindings(truth, decisions, p0))
        sends = check_sends(directory, log, states, expected.p0_emissions)
        verdict.found(sends.problems)
        failed = sends.counts["delivery DEAD_LETTER"] if may_fail else 0
        verdict.found(_check_dead_letters(log, failed))
        verdict.counts.update(_counts(truth, expected, rows))
        verdict.counts.update(sends.counts)
    return verdict


def _check_dead_letters(log: Log, failed: int) -> list[str]:
    """At most one for each delivery that failed (an address that is gone leaves none), and no other."""
    letters = [json.loads(record.value) for record in read_topic(log, "dead_letters")]
    others = [letter for letter in letters if not (failed and letter["kind"] == "failed")]
    problems = [f"dead letter: {str(letter)[:300]}" for letter in others]
    if len(letters) - len(others) > failed:
        problems.append(f"{failed} deliveries are DEAD_LETTER, and {len(letters) - len(others)} dead letters say so")
    return problems


def _passed_over(states: Iterable[Line]) -> dict[str, list[str]]:
    """By event, the channels that its decision passed over. P0 hears of that out of band, and its decision log has no
    word of it: the ledger's is taken, and what follows from it is judged.
    """
    reasons = ((line["event_id"], line["reason"] or "") for line in states if line["kind"] == "decision")
    return {
        event_id: reason.removeprefix(PASSED_OVER).split(",")
        for event_id, reason in reasons
        if reason.startswith(PASSED_OVER)
    }


def expect(
    log: Log, decisions: DecisionLog, p0: list[P0Decision], passed_over: Mapping[str, Sequence[str]]
) -> Expected:
    """Decide both decision logs by the reference model, group by group and lane by lane."""
    topics = SettingTopics({topic: read_topic(log, topic) for topic in P0_SETTINGS})
    expected = Expected({}, {}, set())
    with registry_of(decisions.tables):
        for lines in decisions.simulations().values():
            _take(expected, simulate(lines, inbox=True))
        for lines in p0_simulations(p0, topics, passed_over).values():
            result = simulate(lines, inbox=True)
            expected.p0_emissions |= {line["emission_id"] for line in result if line["kind"] == "emission"}
            _take(expected, result)
    return expected


def _take(expected: Expected, lines: list[Line]) -> None:
    for line in lines:
        if line["kind"] == "inbox":
            expected.inbox[line["user"], line["first_event_id"]] = line
        else:
            expected.ledger[key_of(line)] = line


def _check_ledger(
    verdict: Verdict, expected: Expected, states: dict[tuple[str, ...], Line], archive: dict[tuple[str, ...], Line]
) -> None:
    for kind, fields in _FIELDS.items():
        wanted = {key: _only(line, fields) for key, line in expected.ledger.items() if line["kind"] == kind}
        found = {key: _only(line, fields) for key, line in states.items() if line["kind"] == kind}
        verdict.differ(kind, wanted, found)
    names = {"source"}
    topic = {key: {name: line[name] for name in line.keys() - names} for key, line in states.items()}
    kept = {key: {name: archive[key].get(name) for name in topic.get(key, archive[key])} for key in archive}
    verdict.differ("archive", topic, kept)


def _only(line: Line, fields: Sequence[str]) -> Line:
    return {name: line.get(name) for name in fields}


def _counts(truth: Truth, expected: Expected, rows: Mapping[Any, object]) -> dict[str, int]:
    sent = truth.sent.values()
    decisions = [line for line in expected.ledger.values() if line["kind"] == "decision"]
    return {
        "events sent": len(sent),
        "events accepted": sum(each.is_accepted for each in sent),
        "events indeterminate": sum(not each.is_accepted and not each.is_refused for each in sent),
        "repeats and tries answered": sum(len(each.answers) for each in sent),
        "settings that bind": len(truth.acknowledged),
        "decisions compared": len(decisions),
        "emissions compared": len(expected.ledger) - len(decisions),
        "inbox rows compared": len(rows),
        **{f"outcome {outcome}": count for outcome, count in Counter(line["outcome"] for line in decisions).items()},
    }
