"""The picture of the job graph in ARCHITECTURE.md, drawn from the flows: `make graph` renews it, a test compares it.

Steps and their order come from the flow objects. The topics that a flow reads and writes are found in its sources and
sinks; where these take them from elsewhere, `BESIDES` names them.
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import msgspec

from flows.commands.graph import GraphError, existing_flows, prepare_directory
from flows.config.settings import Settings, child_environment

BEGIN, END = "<!-- picture: begin, by `make graph` -->", "<!-- picture: end -->"
FILE = Path(__file__).resolve().parents[2] / "ARCHITECTURE.md"
SETTINGS = ("preferences", "endpoints", "profiles", "follows", "followers", "segments", "control", "registry", "reads")
"""Topics shown as one node: what is true now."""
BESIDES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "sequence": (("events.p1", "events.p2", "preferences", "retries"), ("followers",)),
    "inbox": ((), ("ledger",)),
    "transactional": (("preferences",), ()),
}
"""What a flow reads and writes besides what is found in its sources and sinks."""
_DEADLINE = timedelta(seconds=90)
_DEPTH = 4


class Step(msgspec.Struct, frozen=True):
    """One step of a flow and the steps before it."""

    name: str
    after: list[str]


class Drawn(msgspec.Struct, frozen=True):
    """One flow."""

    name: str
    steps: list[Step]
    reads: list[str]
    writes: list[str]


def draw() -> str:
    """The mermaid text of the whole graph."""
    flows = drawn_flows()
    lines = [
        "flowchart LR",
        '  producers(["producers, host application, users"]) --> gateway',
        '  gateway["gateway, P0 gateway"]',
    ]
    lines += [f"  gateway --> {_topic('events.' + lane)}" for lane in ("p0", "p1", "p2")]
    lines += [f"  gateway --> {_topic('schedule')}", f"  gateway --> {_topic('preferences')}"]
    for flow in flows:
        lines += _subgraph(flow)
    lines += list(dict.fromkeys(_edges(flows)))
    lines += ['  deliver --> providers(["providers"])', "  transactional --> providers"]
    return "\n".join(lines)


def _subgraph(flow: Drawn) -> Iterator[str]:
    yield f"  subgraph {flow.name}"
    yield "    direction LR"
    for step in flow.steps:
        yield f'    {flow.name}.{step.name}["{step.name}"]'
        yield from (f"    {flow.name}.{before} --> {flow.name}.{step.name}" for before in step.after)
    yield "  end"


def _edges(flows: Iterable[Drawn]) -> Iterator[str]:
    for flow in flows:
        yield from (f"  {_topic(topic)} --> {flow.name}" for topic in flow.reads)
        yield from (f"  {flow.name} --> {_topic(topic)}" for topic in flow.writes)


def _topic(name: str) -> str:
    if name in SETTINGS:
        return 'settings[("' + "<br/>".join(SETTINGS) + '")]'
    if name.startswith("deliver."):
        return 'lanes[("deliver.push<br/>deliver.sms<br/>deliver.email")]'
    return f'topic_{name.replace(".", "_")}[("{name}")]'


def drawn_flows() -> list[Drawn]:
    """Every flow, built in a process and a data directory that go with the picture.

    :raises GraphError: a flow cannot be built.
    """
    settings = Settings()
    with tempfile.TemporaryDirectory(prefix="carillon-picture-") as directory:
        settings = replace(settings, data_dir=Path(directory))
        prepare_directory(settings)
        return _described(existing_flows(), settings)


def _described(names: list[str], settings: Settings) -> list[Drawn]:
    done = subprocess.run(
        [sys.executable, "-m", "flows.commands.picture", "describe", *names],
        env=child_environment(settings),
        capture_output=True,
        timeout=_DEADLINE.total_seconds(),
        check=False,
    )
    if done.returncode:
        raise GraphError(f"a flow cannot be built: {done.stderr.decode().strip().splitlines()[-1:]}")
    return [msgspec.json.decode(line, type=Drawn) for line in done.stdout.splitlines()]


def describe(name: str) -> Drawn:
    """The flow as it is built here."""
    from bytewax.visualize import to_rendered

    from connectors.log.topics import topic_specs

    module = importlib.import_module(f"flows.{name}")
    flow = module.build()
    known = {spec.name for spec in topic_specs(1, timedelta(days=7))}
    steps = [
        Step(
            step.step_name,
            sorted({port.rsplit(".", 2)[1] for inp in step.inp_ports for port in inp.from_port_ids}),
        )
        for step in to_rendered(flow).substeps
    ]
    reads = {topic for step in flow.substeps if hasattr(step, "source") for topic in topics_in(step.source, known)}
    writes = {topic for step in flow.substeps if hasattr(step, "sink") for topic in topics_in(step.sink, known)}
    more_reads, more_writes = BESIDES.get(name, ((), ()))
    return Drawn(name, steps, sorted(reads | set(more_reads)), sorted(writes | set(more_writes)))


def topics_in(part: object, known: set[str], depth: int = _DEPTH) -> set[str]:
    """The names of topics that a source or sink was given."""
    if isinstance(part, str):
        return {part} & known
    if isinstance(part, list | tuple | set | frozenset):
        return {topic for entry in part if isinstance(entry, str) for topic in {entry} & known}
    if depth == 0 or not hasattr(part, "__dict__"):
        return set()
    return {topic for value in vars(part).values() for topic in topics_in(value, known, depth - 1)}


def with_picture(page: str, picture: str) -> str:
    """The text of the page with this picture between its marks."""
    head, _, rest = page.partition(BEGIN)
    _, _, tail = rest.partition(END)
    return f"{head}{BEGIN}\n```mermaid\n{picture}\n```\n{END}{tail}"


def main(arguments: list[str]) -> None:
    """Renew ARCHITECTURE.md, or with `describe FLOW ...` print each flow as a line of JSON."""
    if arguments[:1] == ["describe"]:
        drawn = [msgspec.json.encode(describe(name)) for name in arguments[1:]]
        sys.stdout.buffer.write(b"\n".join(drawn) + b"\n")
        sys.stdout.flush()
        os._exit(0)  # the flows' own threads, which serve nothing here, would keep the process
    FILE.write_text(with_picture(FILE.read_text(encoding="utf-8"), draw()), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
