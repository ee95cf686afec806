"""The live view in a terminal, and its plain lines where there is none."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence

from rich.console import Group
from rich.layout import Layout
from rich.rule import Rule
from rich.text import Text

from flows.commands.output import Output
from flows.demo.live import LiveLine, LiveState, Sample, percentile
from flows.demo.people import star
from flows.demo.workload import Feeding

_COLOURS = {
    "EMITTED": "green", "MERGED": "green", "INBOX": "cyan", "HELD": "yellow", "AGGREGATING": "yellow",
    "SUPPRESSED": "red", "EXPIRED": "red", "SHED": "red",
}  # fmt: skip
_PANELS = {"phone": 5, "push": 3, "sms": 2, "email": 2}
"""Lines of each kind at a height of 24; a higher terminal shows more of each."""
_ANSWERS = {"200": "repeats"}
_LINES_PER_SECOND = 2
_SUMMARY_EVERY_S = 5.0


def picture(seen: LiveState, feeding: Feeding, head: str, troubles: Sequence[str]) -> Layout:
    """The whole view; each line is cut at the terminal's width, and fits in 80 by 24."""
    others = ", ".join(
        f"{count} {_ANSWERS.get(status, status)}"
        for status, count in sorted(feeding.answers.items())
        if status != "202"
    )
    accepted = f"{feeding.answers['202']} events accepted{' (' + others + ')' if others else ''}"
    layout = Layout()
    layout.split_column(
        _row(Text(head, style="dim")),
        _row(Text(f"{accepted} - {feeding.phase}", style="bold")),
        *(part for kind in _PANELS for part in (_heading(_title(seen, kind)), _lines(seen, kind))),
        _heading("Decisions, one per event and person"),
        _row(_counts({outcome: seen.outcomes[outcome] for outcome in _COLOURS})),
        _row(_counts(dict(seen.reasons.most_common()), "dim")),
        _heading("A password does not wait behind a burst"),
        *(_row(Text(line)) for line in race(seen)),
        *(_row(Text("  ".join(troubles[-3:]), style="red")) for _ in troubles[:1]),
    )
    return layout


def _row(text: Text) -> Layout:
    text.no_wrap, text.overflow = True, "ellipsis"
    return Layout(Group(text), size=1)  # an empty text would count as none


def _heading(title: str) -> Layout:
    return Layout(Rule(Text(title, style="bold"), align="left", style="dim"), size=1)


def _counts(counts: Mapping[str, int], style: str = "") -> Text:
    return Text("  ").join(
        Text(f"{count} {name}", style=style or _COLOURS[name]) for name, count in counts.items() if count
    )


def _lines(seen: LiveState, kind: str) -> Layout:
    """The latest first."""
    text = Text(no_wrap=True, overflow="ellipsis")
    for line in reversed(seen.latest[kind]):
        if kind != "phone":
            text.append(f"{line.user[:10]:>10} ", "bold")
        text.append(line.text + "\n")
    return Layout(Group(text), ratio=_PANELS[kind], minimum_size=1)


def _title(seen: LiveState, kind: str) -> str:
    if kind == "phone":
        return f"{star().name}'s phone"
    name = {"push": "Other phones; pushes to all", "sms": "Text messages", "email": "Mails"}[kind]
    return f"{name}: {seen.deliveries[(kind, 'DELIVERED')]}"


def race(seen: LiveState) -> list[str]:
    """P0 against everything else, as measured here: accepted to taken by the provider."""
    lines = [f"P0      {spread(seen.urgent)}", f"P1, P2  {spread(seen.ordinary)}"]
    best = max(list(seen.urgent)[-40:], key=seen.overtaken, default=None)
    if best is not None and seen.overtaken(best):
        lines.append(f"One of the last P0 events took {best.latency_ms} ms and overtook {seen.overtaken(best)} others")
    return lines


def spread(samples: Sequence[Sample]) -> str:
    """Median and 99th percentile in words."""
    recent = list(samples)[-200:]
    if not recent:
        return "nothing delivered yet"
    return f"p50 {percentile(recent, 0.5)} ms, p99 {percentile(recent, 0.99)} ms (last {len(recent)})"


class PlainLines:
    """For logs and pipes: some lines of each kind a second, and a summary every five."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._next_summary_s = time.monotonic() + _SUMMARY_EVERY_S
        self._second = 0
        self._printed: Counter[str] = Counter()

    def show(self, seen: LiveState, feeding: Feeding) -> None:
        """Print what is new."""
        now_s = time.monotonic()
        if int(now_s) != self._second:
            self._second, self._printed = int(now_s), Counter()
        for line in seen.take_fresh():
            self._print(line)
        if now_s >= self._next_summary_s:
            self._next_summary_s = now_s + _SUMMARY_EVERY_S
            self._summary(seen, feeding)

    def _print(self, line: LiveLine) -> None:
        self._printed[line.kind] += 1
        if self._printed[line.kind] > _LINES_PER_SECOND:
            return
        record = {"event": line.kind, "user": line.user, "text": line.text}
        self._output.show(record, f"{line.kind:10} {line.user:>10}  {line.text}")

    def _summary(self, seen: LiveState, feeding: Feeding) -> None:
        outcomes = {outcome: count for outcome, count in seen.outcomes.most_common() if count}
        record = {
            "event": "summary",
            "accepted": feeding.answers["202"],
            "outcomes": outcomes,
            "reasons": dict(seen.reasons),
            "deliveries": {f"{channel} {outcome}": count for (channel, outcome), count in seen.deliveries.items()},
            "inbox_items": seen.inbox_items,
            "p0_p50_ms": percentile(seen.urgent, 0.5),
            "p0_p99_ms": percentile(seen.urgent, 0.99),
        }
        counts = ", ".join(f"{count} {outcome.lower()}" for outcome, count in outcomes.items())
        text = f"-- {feeding.answers['202']} accepted: {counts or 'nothing decided yet'} -- {feeding.phase}"
        self._output.show(record, "\n   ".join([text, *race(seen)]))
