"""The whole system on three real brokers while they are killed, frozen, filled up and cut off.

One story, since what counts is what all of it leaves behind. `make brokers SEED=..` tells a longer one.
"""

import json
import os
import random
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from brokers.cluster import FULL, Brokers, Probe, three_brokers
from brokers.judge import assert_nothing_lost_nothing_doubled, delivered_at, refusals, waits_after
from brokers.load import Load
from helpers.up import Up, running
from helpers.waiting import wait_for

from connectors.log.kafka.log import KafkaLog
from infra.services import Process

SEED = int(os.environ.get("BROKERS_SEED", "20"))
ROUNDS = int(os.environ.get("BROKERS_ROUNDS", "1"))
OUTAGE_S = float(os.environ.get("BROKERS_OUTAGE_S", "15"))
PREFIX = "brokers."
FREEZE_S = 7.0
"""Longer than the brokers need to notice, and than the client waits for one request."""
P0_BACK_S = 5.0
"""P0 is through with its backlog so soon after the brokers serve again."""
P0_RESTART_S = 30.0
"""The same where its own processes were killed meanwhile: brokers that come back are slow to know new producers."""
APART_S = 8.0
"""Between two faults: who started again in the midst of the next one waited for that one's end, and it counted here."""
P0_FIRST_S = 2.0
"""Below that nobody asks who was first."""
VICTIMS = ("sequence", "transactional", "p0-gateway")
"""Who is killed while all brokers are away; nobody else ends for any fault of theirs."""
REFUSED_S = 13.0
"""A gateway says no at the latest so long after the post: its deadline for the log is ten seconds, and some load."""


class Story:
    """The faults, one after another, each felt and each over before the next."""

    def __init__(self, brokers: Brokers, up: Up, load: Load, probe: Probe) -> None:
        self.brokers, self.up, self.load, self.probe = brokers, up, load, probe
        self.random = random.Random(SEED)
        self.outages: list[tuple[str, float, float]] = []
        """What happened, when it began, and when every broker served again."""

    def tell(self, fault: Callable[[], None]) -> None:
        """One fault and its end."""
        begin = time.time()
        fault()
        lifted = time.time()
        wait_for(lambda: self.probe.back_since(lifted) is not None, 60, "all brokers serving", every_s=0.25)
        back = self.probe.back_since(lifted)
        assert back is not None
        self.outages.append((fault.__name__, begin, back))
        self.brokers.wait_in_sync()
        time.sleep(APART_S)

    def rolling_kills(self) -> None:
        """Kill -9 of each, in any order, the next when the one before is back in sync."""
        for broker in self.random.sample(self.brokers.kafka.brokers, 3):
            self._noticed(broker, broker.kill)
            broker.start()
            self.brokers.wait_in_sync()

    def frozen_broker(self) -> None:
        """SIGSTOP for longer than any request may take."""
        broker = self.random.choice(self.brokers.kafka.brokers)
        self._noticed(broker, broker.freeze)
        time.sleep(FREEZE_S)
        broker.thaw()

    def full_disk(self) -> None:
        """No space left for the logs of one: it goes down and says why; with space again it comes back."""
        broker = self.brokers.small
        self.brokers.disk.fill(broker)
        wait_for(lambda: not broker.lives, 60, "the end of the broker whose disk is full", every_s=0.25)
        said = (broker.directory / "output.log").read_text()
        assert any(text in said for text in FULL), said[-2000:]
        self.brokers.wait_noticed(broker)
        self.brokers.disk.free()
        broker.start()

    def lost_leader(self) -> None:
        """The leader of a partition on which everything waits."""
        topic = self.random.choice(("events.p0", "work", "attempts"))
        broker = self.brokers.leader_of(PREFIX + topic, 0)
        self._noticed(broker, broker.kill)
        broker.start()

    def outage(self) -> None:
        """All of them frozen: connections stay open, nothing is answered, and what they received is stored later."""
        self._freeze_all(OUTAGE_S)

    def outage_with_deaths(self) -> None:
        """The same, and while it lasts those die who write what counts once; they start again and wait."""
        self._freeze_all(OUTAGE_S / 2, VICTIMS)

    def _freeze_all(self, seconds: float, victims: Sequence[str] = ()) -> None:
        for broker in self.brokers.kafka.brokers:
            broker.freeze()
        time.sleep(seconds / 2)
        for victim in victims:
            self.up.kill(victim)
        time.sleep(seconds / 2)
        for broker in self.brokers.kafka.brokers:
            broker.thaw()

    def _noticed(self, broker: Process, how: Callable[[], None]) -> None:
        how()
        self.brokers.wait_noticed(broker)


def _print(what: str, **figures: object) -> None:
    print("brokers", what, json.dumps(figures, default=lambda number: round(number, 2)), flush=True)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a fault did, in seconds."""

    name: str
    lasted: float
    longest_gap: float
    """The longest time in which some partition was not served."""
    p0: list[float]
    """How long after the fault each event of the backlog was delivered."""
    p1: list[float]
    refused: list[float]
    """How long posts took that were refused meanwhile."""

    def show(self) -> None:
        figures = {"lasted": self.lasted, "longest_gap": self.longest_gap}
        for name, waits in (("p0", self.p0), ("p1", self.p1), ("refused", self.refused)):
            figures |= {name: len(waits), f"{name}_median": waits[len(waits) // 2] if waits else 0.0}
            figures |= {f"{name}_last": max(waits, default=0.0)}
        _print(self.name, **figures)

    def judge(self) -> None:
        """It was felt, and the backlog was gone in time after it, P0's first."""
        p0, p1 = max(self.p0, default=0.0), max(self.p1, default=0.0)
        assert self.longest_gap > 1.0, f"{self.name} was not felt"
        restarted = self.name == "outage_with_deaths"
        assert p0 <= (P0_RESTART_S if restarted else P0_BACK_S), self.name
        late = P0_FIRST_S if restarted else 0.0  # P0's processes were killed, and deliver was not
        assert p0 <= max(p1 + late, P0_FIRST_S), f"{self.name}: P0 was not first"
        assert p1 <= max(30.0, 2 * self.lasted), self.name
        assert max(self.refused, default=0.0) <= REFUSED_S, self.name


def _outcomes(story: Story, log: KafkaLog) -> list[Outcome]:
    delivered, found = delivered_at(story.up, log), []
    for name, begin, back in story.outages:
        p0, p1 = (waits_after(back, [e for e in story.load.posted if e.p0 is p0], delivered) for p0 in (True, False))
        gap = story.probe.longest_gap_s(begin, back + 1)
        found.append(Outcome(name, back - begin, gap, p0, p1, refusals(story.load, begin, back)))
    return found


@pytest.mark.timeout(480 * ROUNDS)
def test_faults_of_brokers_lose_nothing_and_double_nothing(tmp_path: Path) -> None:
    print("\nbrokers seed", SEED)
    with three_brokers() as brokers:
        environment = {
            "CARILLON_PROFILE": "kafka",
            "CARILLON_KAFKA__BOOTSTRAP": brokers.kafka.bootstrap,
            "CARILLON_LOG__PREFIX": PREFIX,
            "CARILLON_LOG__PARTITIONS": "2",
        }
        with running(tmp_path, environment=environment) as up:
            load, probe = Load(up, seed=SEED), Probe(brokers.kafka.bootstrap)
            load.settle_in()
            load.start()
            time.sleep(3)
            story = Story(brokers, up, load, probe)
            faults = [
                story.rolling_kills, story.frozen_broker, story.full_disk, story.lost_leader, story.outage,
                story.outage_with_deaths,
            ]  # fmt: skip
            for _ in range(ROUNDS):
                for fault in story.random.sample(faults, len(faults)):
                    story.tell(fault)
            load.stop(within_s=60)
            log = KafkaLog(brokers.kafka.bootstrap, prefix=PREFIX)
            assert_nothing_lost_nothing_doubled(up, load, log, within_s=60)
            outcomes = _outcomes(story, log)
            for outcome in outcomes:
                outcome.show()
            _print("events", p0=sum(e.p0 for e in load.posted), p1=sum(not e.p0 for e in load.posted))
            ended = [(line["name"], line["code"]) for line in up.lines if line.get("event") == "exit"]
            assert sorted(ended) == sorted([(victim, -signal.SIGKILL) for victim in VICTIMS] * ROUNDS)
            for outcome in outcomes:
                outcome.judge()
            probe.close()
            log.close()
            assert up.stop() == 0, up.errors()
