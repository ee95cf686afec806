"""What a drill came to, besides what the crash harness's judge says: P0's latency, retries, what was not sent.

The providers' journals are believed, and the times at which the load wanted to send.
"""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from crash.left_behind import PROVIDERS, TAKEN, Line, journal, last_states, log_of, read_topic
from crash.truth import Truth
from crash.verdict_sends import Attempts, read_attempts

NEVER_MS = 10**9
"""The latency of what no provider took."""


@dataclass
class Findings:
    """What is left of a system that was stopped."""

    directory: Path
    truth: Truth
    states: dict[tuple[str, ...], Line]
    attempts: Attempts
    lines: list[Line] = field(default_factory=list)
    """Of all journals, in order of time."""

    def taken_at(self) -> dict[str, int]:
        """By delivery key, when a provider first took it."""
        found: dict[str, int] = {}
        for line in self.lines:
            key = self.attempts.key_of_id.get(line["id"])
            if key is not None and line["status"] in TAKEN:
                found.setdefault(key, line["ts"])
        return found

    def decisions(self, outcome: str = "") -> list[Line]:
        return [
            line for line in self.states.values() if line["kind"] == "decision" and outcome in ("", line["outcome"])
        ]

    def deliveries(self, outcome: str = "") -> list[Line]:
        return [
            line for line in self.states.values() if line["kind"] == "delivery" and outcome in ("", line["outcome"])
        ]

    def p0_latencies_ms(self, begin: int, end: int) -> list[int]:
        """Of P0 events that should have gone out in this time: to the first provider that took it, sorted.

        One that nobody took has NEVER_MS.
        """
        by_emission: dict[str, int] = {}
        for key, at in self.taken_at().items():
            emission = key.partition("/")[0]
            by_emission[emission] = min(at, by_emission.get(emission, at))
        emission_of = {line["event_id"]: line["emission_id"] for line in self.decisions()}
        latencies = []
        for sent in self.truth.sent.values():
            if sent.p0 and begin <= sent.at < end:
                at = min(
                    (by_emission[emission_of[e]] for e in sent.event_ids if emission_of.get(e) in by_emission),
                    default=0,
                )
                latencies.append(at - sent.at if at else NEVER_MS)
        return sorted(latencies)

    def early_retries(self, wait_ms: int, provider: str, begin: int, end: int) -> int:
        """Messages that came again within `wait_ms` of a refusal in this time."""
        last: dict[str, int] = {}
        early = 0
        for line in self.lines:
            if line["provider"] == provider and line["id"]:
                early += line["ts"] - last.get(line["id"], 0) < wait_ms
                last.pop(line["id"], None)
                if line["status"] not in TAKEN and begin <= line["ts"] < end:
                    last[line["id"]] = line["ts"]
        return early

    def tries_max(self, provider: str) -> int:
        """How often the same message came at most."""
        counts: dict[str, int] = defaultdict(int)
        for line in self.lines:
            if line["provider"] == provider and line["id"]:
                counts[line["id"]] += 1
        return max(counts.values(), default=0)


def find(directory: Path, environment: dict[str, str], truth: Truth) -> Findings:
    """Read what is left."""
    with log_of(directory, environment) as (_, log):
        states, attempts = last_states(read_topic(log, "ledger")), read_attempts(log)
    lines = sorted((line for name in PROVIDERS for line in journal(directory, name)), key=lambda line: line["ts"])
    return Findings(directory, truth, states, attempts, lines)


def percentile(values: Sequence[int], share: float) -> int:
    """Of sorted values; the nearest rank."""
    return values[max(0, math.ceil(share * len(values)) - 1)] if values else 0
