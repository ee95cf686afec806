"""Plays one incident on a real system and judges what is left of it.

    play(directory, "apns-out", scale=1.0, seed=1) -> Verdict

The judge is the crash harness's: the reference model, the load's truth and the providers' journals. On top of it come
P0's latencies while the incident lasted, how long it took afterwards until everything was done, the three laws, and
what the incident itself claims.
"""

import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from crash.harness import TRUTH, come_to_rest, rest
from crash.truth import Truth, TruthWriter
from crash.verdict import judge
from crash.whole_system import running_system
from drills.incidents import INCIDENTS, Incident
from drills.measures import NEVER_MS, Findings, find, percentile
from drills.stage import Stage, Watcher
from helpers.steering import steering_of

P50_MAX_MS = 2_000
RECOVERY_MIN_S = 100
"""An open breaker asks every 30 s, is half-open for 10 s, and lets the backlog out at half the rate."""


@dataclass
class Verdict:
    """What holds and what does not."""

    lines: list[tuple[str, bool]] = field(default_factory=list)

    @property
    def failed(self) -> list[str]:
        return [text for text, holds in self.lines if not holds]

    def add(self, text: str, holds: bool) -> None:
        """One more; told at once."""
        self.lines.append((text, holds))
        print(f"  {'holds ' if holds else 'FAILS '}  {text}", flush=True)


def play(directory: Path, name: str, *, scale: float, seed: int) -> Verdict:
    """See the module."""
    incident, writer = INCIDENTS[name], TruthWriter(directory / TRUTH)
    print(f"{name}: {incident.what}; scale {scale:g}, seed {seed}, {directory}", flush=True)
    with running_system(directory, {"CARILLON_PROFILE": "embedded"}, incident.tables) as system:
        stage = Stage(system, steering_of(directory), writer, seed, scale)
        with Watcher(stage):
            claims = incident.play(stage)
            writer.close()
            truth = Truth(directory / TRUTH)
            unrested, ended = rest(system, truth), time.time_ns() // 1_000_000
            stage.say("everything accepted has ended" if not unrested else "; ".join(unrested))
        unrested += come_to_rest(system, truth)
    verdict = Verdict()
    findings = find(directory, system.environment, truth)
    judged = judge(directory, system.environment, truth, may_fail=incident.may_fail)
    _judge_in_general(verdict, [*unrested, *judged.problems], judged.counts)
    _judge_latencies(verdict, incident, findings, stage)
    _judge_recovery(verdict, ended, stage)
    for text, holds in claims(findings):
        verdict.add(text, holds)
    return verdict


def _judge_in_general(verdict: Verdict, problems: list[str], counts: Counter[str]) -> None:
    for problem in problems:
        verdict.add(problem, holds=False)
    events = f"{counts['events accepted']} events accepted, {counts['decisions compared']} decisions as the model's"
    verdict.add(f"none missed: {events}, the three laws hold", not verdict.failed)
    twice = counts["taken twice, P1 and P2"]
    p0 = counts["taken twice, P0"]
    verdict.add(
        f"none twice: {counts['messages taken by providers']} taken, {twice} again; of P0 {p0}, all excused", not twice
    )


def _judge_latencies(verdict: Verdict, incident: Incident, findings: Findings, stage: Stage) -> None:
    latencies = findings.p0_latencies_ms(stage.marks["trouble"], stage.marks["over"])
    p50, p99 = percentile(latencies, 0.5), percentile(latencies, 0.99)
    text = (
        f"P0 while it lasted: {len(latencies)} events, p50 {p50} ms, p99 {p99} ms, worst {percentile(latencies, 1)} ms"
    )
    in_time = len(latencies) > 0 and p50 <= P50_MAX_MS and p99 <= incident.p99_max_ms
    verdict.add(text, in_time and latencies[-1] < NEVER_MS)


def _judge_recovery(verdict: Verdict, ended: int, stage: Stage) -> None:
    lasted_s = (stage.marks["over"] - stage.marks["trouble"]) / 1000
    took_s = (ended - stage.marks["over"]) / 1000
    bar_s = max(RECOVERY_MIN_S, 2 * lasted_s)
    verdict.add(
        f"it lasted {lasted_s:.0f} s, and all was done {took_s:.1f} s later (at most {bar_s:.0f})", took_s <= bar_s
    )
