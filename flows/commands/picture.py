"""What documents show of the system: `make graph` renews it, a test compares it.

In ARCHITECTURE.md the job graph: steps and their order come from the flow objects, what they read and write from the
table of topics. In TOPICS.md that table.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from connectors.log.topics import read_by, topic_table, written_by
from flows.commands.graph import FLOWS, printed_by_flows
from state.model.topics import DELIVER

BEGIN, END = "<!-- picture: begin, by `make graph` -->", "<!-- picture: end -->"
ROOT = Path(__file__).resolve().parents[2]
SETTINGS = ("preferences", "endpoints", "profiles", "follows", "followers", "segments", "control", "reads")
"""Topics shown as one node: what is true now."""


class Step(msgspec.Struct, frozen=True):
    """One step of a flow and the steps before it."""

    name: str
    after: list[str]


class Drawn(msgspec.Struct, frozen=True):
    """One flow."""

    name: str
    steps: list[Step]


def draw() -> str:
    """The mermaid text of the whole graph."""
    flows = drawn_flows()
    lines = [
        "flowchart LR",
        '  producers(["producers, host application, users"]) --> gateway',
        '  gateway["gateway, P0 gateway"]',
    ]
    for flow in flows:
        lines += _subgraph(flow)
    lines += list(dict.fromkeys(_edges(["gateway", *(flow.name for flow in flows)])))
    lines += ['  deliver --> providers(["providers"])', "  transactional --> providers"]
    return "\n".join(lines)


def _subgraph(flow: Drawn) -> Iterator[str]:
    yield f"  subgraph {flow.name}"
    yield "    direction LR"
    for step in flow.steps:
        yield f'    {flow.name}.{step.name}["{step.name}"]'
        yield from (f"    {flow.name}.{before} --> {flow.name}.{step.name}" for before in step.after)
    yield "  end"


def _edges(stations: Iterable[str]) -> Iterator[str]:
    for station in stations:
        yield from (f"  {_topic(topic)} --> {station}" for topic in read_by(station))
        yield from (f"  {station} --> {_topic(topic)}" for topic in written_by(station))


def _topic(name: str) -> str:
    if name in SETTINGS:
        return 'settings[("' + "<br/>".join(SETTINGS) + '")]'
    if name.startswith("deliver."):
        return 'lanes[("' + "<br/>".join(DELIVER.values()) + '")]'
    return f'topic_{name.replace(".", "_")}[("{name}")]'


def drawn_flows() -> list[Drawn]:
    """Every flow, as it is built.

    :raises GraphError: one cannot be.
    """
    printed = printed_by_flows("flows.commands.picture", "describe", *FLOWS, what="a flow")
    return [msgspec.json.decode(line, type=Drawn) for line in printed.splitlines()]


def describe(name: str) -> Drawn:
    """The flow as it is built here."""
    from bytewax.visualize import to_rendered

    flow = importlib.import_module(f"flows.{name}").build()
    steps = [
        Step(
            step.step_name,
            sorted({port.rsplit(".", 2)[1] for inp in step.inp_ports for port in inp.from_port_ids}),
        )
        for step in to_rendered(flow).substeps
    ]
    return Drawn(name, steps)


def pages() -> dict[Path, str]:
    """The documents, and what each shows between its marks."""
    graph = f"```mermaid\n{draw()}\n```"
    return {ROOT / "ARCHITECTURE.md": graph, ROOT / "TOPICS.md": "\n".join(topic_table())}


def with_picture(page: str, picture: str) -> str:
    """The text of the page with this picture between its marks."""
    head, _, rest = page.partition(BEGIN)
    _, _, tail = rest.partition(END)
    return f"{head}{BEGIN}\n{picture}\n{END}{tail}"


def main(arguments: list[str]) -> None:
    """Renew the documents, or with `describe FLOW ...` print each flow as a line of JSON."""
    if arguments[:1] == ["describe"]:
        drawn = [msgspec.json.encode(describe(name)) for name in arguments[1:]]
        sys.stdout.buffer.write(b"\n".join(drawn) + b"\n")
        sys.stdout.flush()
        os._exit(0)  # the flows' own threads, which serve nothing here, would keep the process
    for page, picture in pages().items():
        page.write_text(with_picture(page.read_text(encoding="utf-8"), picture), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
