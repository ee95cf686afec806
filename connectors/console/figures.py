"""The figures of the page *Now*, from the metrics of all processes."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

from prometheus_client.parser import text_string_to_metric_families

from connectors.metric_files import all_metrics

_RATE_OVER_S = 60
_GOOD_FOR_S = 2.0
_SOON_DAYS = 60
_BREAKERS = ("closed", "reduced", "half-open", "open")
_ACCEPTED = ("accepted", "repeated")
_LEVELS = ("nothing", "P2 waits", "half of P1 waits", "only P0 goes")
_WAITS = {
    "AGGREGATING": "until its type's window ends: then several are one",
    "HELD": "until quiet hours, a cap or a mail's waiting time are over",
}
_AT_PROVIDERS = "decided and not ended: at a provider, waiting for one, or to be tried again"
Labels = tuple[tuple[str, str], ...]


class Counted(NamedTuple):
    """Something that only grows."""

    name: str
    total: float
    lately: float
    """Of these, in the last minute."""
    over_s: float
    """How much of that minute is known."""

    def per_s(self, least: int) -> float | None:
        """Over the last minute; None: it is not known yet, or of fewer than `least`: times the minute it would tell how
        many. Above that it is of tens, as `total` is shown.
        """
        if self.over_s < 1 or self.lately < least:
            return None
        return (self.lately - self.lately % least if least else self.lately) / self.over_s


class ProviderNow(NamedTuple):
    """One provider."""

    name: str
    breaker: str
    in_flight: float
    waiting: float
    tries: Sequence[Counted]


class WaitingNow(NamedTuple):
    """Something that does not go on yet."""

    name: str
    number: float | None
    why: str


class PlaceNow(NamedTuple):
    """One flow or lane."""

    name: str
    score: float
    asks: str
    """What its load asks of others."""


class Latency(NamedTuple):
    """How long something took, in seconds, since the start."""

    events: float
    p50_s: float | None
    p99_s: float | None
    bars: Sequence[tuple[str, float]]
    """Upper ends of ranges, and the share of events in each."""


class SenderNow(NamedTuple):
    """One sender, since the start."""

    accepted: Sequence[Counted]
    """Events, and repeats of such."""
    refused: Sequence[Counted]
    """By why."""
    answers: Latency
    """From the head of a post to its answer."""
    fullest: float
    """Events granted within one second, at most, in the last minute."""


class ExpiringNow(NamedTuple):
    """A credential that ends soon."""

    name: str
    days: float
    """Below 0: it has ended."""


@dataclass(frozen=True, slots=True)
class FiguresNow:
    """What the page shows."""

    admitted: Sequence[Counted]
    refused: Sequence[Counted]
    delivered: Sequence[Counted]
    waiting: Sequence[WaitingNow]
    """What waits for its time, by class deliveries that were accepted and have not ended, and what load holds back."""
    providers: Sequence[ProviderNow]
    places: Sequence[PlaceNow]
    p0: Latency
    """From the acceptance of an event to the provider's answer."""
    senders: Mapping[str, SenderNow]
    dead_letters: Sequence[Counted]
    behind_s: float
    expiring: Sequence[ExpiringNow]
    """The first to end first."""
    versions: Mapping[str, Sequence[str]]
    """Of Carillon, and the processes of this machine that run each."""


Samples = Mapping[tuple[str, Labels], float]
P0_SECONDS = "carillon_p0_accepted_to_provider_seconds_bucket"
DECIDED_SECONDS = "carillon_decided_to_provider_seconds_bucket"
LOAD_SCORE = "carillon_load_score"


@dataclass(slots=True)
class Figures:
    """Reads the metrics, and remembers a minute of them for rates. For any thread ."""

    directory: Path | None
    """Where other processes write theirs."""
    _before: deque[tuple[float, Samples]] = field(default_factory=deque)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _last: FiguresNow | None = None

    def read(self) -> FiguresNow:
        """What is so now, for all who look within two seconds."""
        with self._lock:
            if self._last is None or time.monotonic() - self._before[-1][0] >= _GOOD_FOR_S:
                self._last = self._read()
            return self._last

    def _read(self) -> FiguresNow:
        now, samples = time.monotonic(), samples_of(all_metrics(self.directory).decode())
        self._before.append((now, samples))
        while len(self._before) > 1 and now - self._before[0][0] > _RATE_OVER_S:
            self._before.popleft()
        places = _places(samples)
        counted = _Counting(samples, *self._before[0], now).counted
        return FiguresNow(
            admitted=counted("carillon_gateway_admissions_total", "lane", "verdict"),
            refused=[
                *counted("carillon_gateway_limited_total", "lane", words="above the sender's limit"),
                *counted("carillon_gateway_shed_total", "priority", words="the system is loaded"),
                *counted("carillon_gateway_door_refused_total", "lane", words="the sender's door is closed"),
                *counted("carillon_gateway_fan_outs_limited_total", words="too many fan-outs of an actor"),
            ],
            delivered=counted("carillon_deliveries_total", "channel", "outcome"),
            waiting=[*_held(samples), *_unsent(samples), *_asked(places)],
            providers=_providers(samples, counted),
            places=places,
            p0=_latency(summed(samples, P0_SECONDS, ["le"])),
            senders=_senders(samples, counted),
            dead_letters=counted("carillon_dead_letters_total", "stage"),
            behind_s=max(_of(samples, "carillon_archive_behind_seconds").values(), default=0.0),
            expiring=_expiring(samples),
            versions=_versions(samples),
        )


@dataclass(frozen=True, slots=True)
class _Counting:
    samples: Samples
    then: float
    earlier: Samples
    now: float

    def counted(self, metric: str, *labels: str, words: str = "") -> list[Counted]:
        """By these labels, over all processes."""
        totals, before = summed(self.samples, metric, labels), summed(self.earlier, metric, labels)
        return [
            Counted(
                " ".join((*names, words)).strip(), total, max(0.0, total - before.get(names, 0.0)), self.now - self.then
            )
            for names, total in sorted(totals.items())
            if total
        ]


def samples_of(text: str) -> Samples:
    """What lines of metrics say, by name and labels."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def _of(samples: Samples, metric: str) -> dict[Labels, float]:
    return {labels: value for (name, labels), value in samples.items() if name == metric}


def summed(samples: Samples, metric: str, wanted: Iterable[str]) -> dict[tuple[str, ...], float]:
    """The sums of a metric over all labels but these."""
    sums: dict[tuple[str, ...], float] = {}
    for labels, value in _of(samples, metric).items():
        names = tuple(dict(labels).get(name, "") for name in wanted)
        sums[names] = sums.get(names, 0.0) + value
    return sums


def _held(samples: Samples) -> list[WaitingNow]:
    waiting = summed(samples, "carillon_decide_waiting", ["outcome"])
    return [WaitingNow(name, number, _WAITS[name]) for (name,), number in sorted(waiting.items())]


def _unsent(samples: Samples) -> list[WaitingNow]:
    of_lanes = summed(samples, "carillon_deliveries_open", ["lane"])
    p0 = {names: number for names, number in of_lanes.items() if names[0].startswith("p0")}
    parts = (("P0", p0), ("P1 and P2", {names: of_lanes[names] for names in of_lanes.keys() - p0.keys()}))
    return [WaitingNow(f"sending {name}", sum(part.values()), _AT_PROVIDERS) for name, part in parts if part]


def _asked(places: Iterable[PlaceNow]) -> list[WaitingNow]:
    return [WaitingNow(each.asks, None, f"the load of {each.name}") for each in places if each.asks != _LEVELS[0]]


def _providers(samples: Samples, counted: Callable[..., list[Counted]]) -> list[ProviderNow]:
    states: dict[str, float] = {}
    for labels, value in _of(samples, "carillon_breaker_state").items():
        name = dict(labels)["provider"]
        states[name] = max(value, states.get(name, 0.0))
    flying = summed(samples, "carillon_deliveries_in_flight", ["provider"])
    waiting = summed(samples, "carillon_deliveries_waiting", ["provider"])
    tries = counted("carillon_delivery_attempts_total", "provider", "result")
    return [
        ProviderNow(
            name, _BREAKERS[int(state)], flying.get((name,), 0.0), waiting.get((name,), 0.0),
            [_without(f"{name} ", each) for each in tries if each.name.startswith(f"{name} ")],
        )
        for name, state in sorted(states.items())
    ]  # fmt: skip


def _without(prefix: str, counted: Counted) -> Counted:
    return counted._replace(name=counted.name.removeprefix(prefix))


def _places(samples: Samples) -> list[PlaceNow]:
    levels = summed(samples, "carillon_load_level", ["place"])
    return [
        PlaceNow(place, score, _LEVELS[int(levels.get((place,), 0.0))])
        for (place,), score in sorted(summed(samples, LOAD_SCORE, ["place"]).items())
    ]


def _expiring(samples: Samples) -> list[ExpiringNow]:
    ends = summed(samples, "carillon_credential_expires_in_days", ["credential"])
    return sorted((ExpiringNow(name, days) for (name,), days in ends.items() if days <= _SOON_DAYS), key=itemgetter(1))


def _versions(samples: Samples) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for version, process in sorted(summed(samples, "carillon_build_info", ["version", "process"])):
        found.setdefault(version, []).append(process or "this gateway")
    return found


def _senders(samples: Samples, counted: Callable[..., list[Counted]]) -> dict[str, SenderNow]:
    answered = counted("carillon_gateway_sender_events_total", "sender", "answer")
    took = summed(samples, "carillon_gateway_sender_seconds_bucket", ["sender", "le"])
    fullest = summed(samples, "carillon_gateway_sender_fullest_second", ["sender"])
    found: dict[str, SenderNow] = {}
    for name in {sender for sender, _ in took}:
        own = [_without(f"{name} ", each) for each in answered if each.name.startswith(f"{name} ")]
        found[name] = SenderNow(
            [each for each in own if each.name in _ACCEPTED],
            [each for each in own if each.name not in _ACCEPTED],
            _latency({(end,): count for (sender, end), count in took.items() if sender == name}),
            fullest.get((name,), 0.0),
        )
    return found


def _latency(buckets: Mapping[tuple[str, ...], float]) -> Latency:
    up_to = sorted((float(end), count) for (end,), count in buckets.items())
    count = up_to[-1][1] if up_to else 0.0
    if not count:
        return Latency(0, None, None, ())
    ends = [end for end, _ in up_to]
    counts = [count for _, count in up_to]
    inside = [(more - less) / count for less, more in zip([0.0, *counts], counts, strict=False)]
    names = [f"{end * 1000:g} ms" if end < 1 else "more" if end == float("inf") else f"{end:g} s" for end in ends]
    return Latency(
        count, percentile_s(ends, counts, 0.5), percentile_s(ends, counts, 0.99), [*zip(names, inside, strict=True)]
    )


def percentile_s(ends: Sequence[float], counts: Sequence[float], share: float) -> float | None:
    """Of counts up to these ends, within its range as if all were spread evenly; None: above the last end."""
    wanted, below, begin = share * counts[-1], 0.0, 0.0
    for end, count in zip(ends, counts, strict=True):
        if count >= wanted:
            return None if end == float("inf") else begin + (end - begin) * (wanted - below) / max(1.0, count - below)
        begin, below = end, count
    return None
