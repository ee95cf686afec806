"""The live view in a terminal, and its plain lines where there is none."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.layout import Layout
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from flows.commands.output import Output
from flows.demo.live import CHANNELS, LiveLine, LiveState, Sample, percentile
from flows.demo.workload import Feeding

_COLOURS = {
    "EMITTED": "green", "MERGED": "green", "INBOX": "cyan", "HELD": "yellow", "AGGREGATING": "yellow",
    "SUPPRESSED": "red", "EXPIRED": "red", "SHED": "red",
}  # fmt: skip
_TITLES = {
    "push": "Pushes",
    "sms": "Text messages",
    "email": "Mails",
    "in_app": "Inbox rows",
    "suppressed": "Not sent, and why",
}
_LINES_PER_SECOND = 2
_SUMMARY_EVERY_S = 5.0


def picture(seen: LiveState, feeding: Feeding, head: str, troubles: Sequence[str]) -> Layout:
    """The whole view."""
    layout = Layout()
    layout.split_column(
        Layout(_head(feeding, head, troubles), size=5), Layout(name="body"), Layout(_race(seen), size=6)
    )
    layout["body"].split_row(Layout(name="left", ratio=2), Layout(name="right", ratio=3))
    layout["left"].split_column(Layout(_outcomes(seen)), Layout(_lines(seen, "suppressed")))
    layout["right"].split_column(*(Layout(_lines(seen, kind)) for kind in CHANNELS))
    return layout


def _head(feeding: Feeding, head: str, troubles: Sequence[str]) -> RenderableType:
    accepted = feeding.answers["202"]
    others = ", ".join(f"{count} x {status}" for status, count in sorted(feeding.answers.items()) if status != "202")
    lines = [
        Text(head, style="dim"),
        Text(f"{accepted} events accepted{' (' + others + ')' if others else ''} - {feeding.phase}", style="bold"),
        Text("  ".join(troubles[-3:]) or "Ctrl-C drains and stops", style="red" if troubles else "dim"),
    ]
    return Panel(Group(*lines), title="Carillon")


def _outcomes(seen: LiveState) -> RenderableType:
    table = Table(expand=True, box=None, show_header=False)
    table.add_column()
    table.add_column(justify="right")
    for outcome, count in seen.outcomes.most_common():
        if count:
            table.add_row(Text(outcome, style=_COLOURS.get(outcome, "white")), str(count))
    for reason, count in seen.reasons.most_common(6):
        table.add_row(Text(f"  {reason}", style="dim"), Text(str(count), style="dim"))
    return Panel(table, title="Decisions, one per event and person")


def _lines(seen: LiveState, kind: str) -> RenderableType:
    rows = [
        Text.assemble((f"{line.user:>10} ", "bold"), line.text, overflow="ellipsis", no_wrap=True)
        for line in seen.latest[kind]
    ]
    return Panel(Group(*reversed(rows)), title=_title(seen, kind))


def _title(seen: LiveState, kind: str) -> str:
    if kind == "suppressed":
        return _TITLES[kind]
    count = seen.inbox_items if kind == "in_app" else seen.deliveries[(kind, "DELIVERED")]
    return f"{_TITLES[kind]} ({count})"


def _race(seen: LiveState) -> RenderableType:
    return Panel(Text("\n".join(race(seen))), title="A password does not wait behind a burst")


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
