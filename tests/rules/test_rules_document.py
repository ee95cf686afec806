"""Every example of RULES.md holds: what goes in gives what it shows, in the product and in the reference model.

A block `first` goes before every other. `in` is a file for `carillon simulate`, `out` what it gives: every decision,
and every emission and inbox row where the block shows one; of each line the fields shown. `post` is what a sender of P1
and P2 posts, `answers` the status of each and the fields that are complained of.
"""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple

import pytest
from helpers.gateway_process import SERVED
from helpers.places import ROOT
from reference.model import simulate
from rules.writing import DAY, HOUR, MINUTE, SECOND

from flows.simulation.run import run_simulation
from operators.admit import Rules
from state.model.admission import RefusedRequest, Sender
from state.model.registry import TypeProfile, load_registry

Record = dict[str, Any]
TEXT = (ROOT / "RULES.md").read_text(encoding="utf-8")


class Block(NamedTuple):
    line: int
    kind: str
    records: list[Record]


def blocks() -> list[Block]:
    found = re.finditer(r"^ *```ndjson (\w+)\n(.*?)^ *```$", TEXT, re.MULTILINE | re.DOTALL)
    return [
        Block(TEXT.count("\n", 0, match.start()) + 1, match[1], [json.loads(line) for line in match[2].splitlines()])
        for match in found
    ]


BLOCKS = blocks()
FIRST = BLOCKS[0]
PAIRS = list(zip(BLOCKS[1::2], BLOCKS[2::2], strict=True))
SIMULATED = [pair for pair in PAIRS if pair[0].kind == "in"]
POSTED = [pair for pair in PAIRS if pair[0].kind == "post"]


def named(pair: tuple[Block, Block]) -> str:
    return f"line_{pair[0].line}"


def assert_shown(shown: list[Record], given: list[Record]) -> None:
    kinds = {record["kind"] for record in shown}
    compared = [record for record in given if record["kind"] in kinds | {"decision"}]
    parts = [{name: full.get(name, "missing") for name in part} for part, full in zip(shown, compared, strict=False)]
    assert parts + compared[len(parts) :] == shown


def test_the_document_has_its_blocks_in_pairs() -> None:
    assert FIRST.kind == "first"
    assert {(asked.kind, answer.kind) for asked, answer in PAIRS} == {("in", "out"), ("post", "answers")}
    assert len(SIMULATED) > 20
    assert TEXT.count("```") == 2 * len(BLOCKS)


@pytest.mark.parametrize("pair", SIMULATED, ids=named)
def test_product_gives_what_the_document_shows(pair: tuple[Block, Block]) -> None:
    lines = [json.dumps(record).encode() for record in FIRST.records + pair[0].records]
    assert_shown(pair[1].records, run_simulation(lines, inbox=True))


@pytest.mark.parametrize("pair", SIMULATED, ids=named)
def test_model_gives_what_the_document_shows(pair: tuple[Block, Block]) -> None:
    assert_shown(pair[1].records, simulate(FIRST.records + pair[0].records, inbox=True))


@pytest.mark.parametrize("pair", POSTED, ids=named)
def test_admission_answers_as_the_document_shows(pair: tuple[Block, Block]) -> None:
    rules, sender = Rules(load_registry(), served=SERVED), Sender("app", frozenset({"P1", "P2"}), ("*",))
    answers = []
    for body in pair[0].records:
        judged = rules.judge(body, sender, now_ms=0, new_event_id=lambda: "new")
        status, errors = (judged.status, judged.errors) if isinstance(judged, RefusedRequest) else (202, ())
        answers.append({"status": status, "fields": sorted(error.path for error in errors)})
    assert answers == pair[1].records


def registry_rows() -> dict[str, list[str]]:
    """Type to the other cells of its row in section 7."""
    table = TEXT.partition("| type | class |")[2].partition("\n\n")[0]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()[2:]]
    return {name: cells for names, *cells in rows for name in names.split(", ")}


def cells_of(profile: TypeProfile) -> list[str]:
    """The first cells: class, category, fan-out, ttl, window."""
    fan_out = ", ".join(profile.fan_out) if profile.registered else "as sent"
    fan_out += ", scheduled \u00b12 min" if profile.absolute_ttl else ""
    window = f"{profile.window_ms // SECOND} s" if profile.window_ms else "0"
    return [profile.klass, profile.category, fan_out, span(profile.ttl_ms), window]


def span(ms: int) -> str:
    """10 min, 24 h, 7 d."""
    if ms < HOUR:
        return f"{ms // MINUTE} min"
    return f"{ms // HOUR} h" if ms <= DAY else f"{ms // DAY} d"


def test_the_table_of_types_is_the_registry() -> None:
    listed, registry = registry_rows(), load_registry()
    assert set(listed) == {*registry.names(), "any other"}
    for name, (*first, ways, notes) in listed.items():
        profile = registry.profile(name)
        assert first == cells_of(profile), name
        assert re.split(r"\W", ways)[0] == profile.policy, name
        assert re.findall(r"\b(?:push|sms|email|in_app)\b", ways) == list(profile.channels), name
        said = {
            "pinned": profile.pinned,
            "mandatory": profile.mandatory,
            "notify_self": profile.notify_self and profile.klass != "P0",
            "absolute ttl": profile.absolute_ttl,
            "opt-in": not profile.enabled,
            "(digest)": profile.digest,
            "(critical)": profile.critical_push,
            "by `to` only": bool(profile.to_only),
        }
        assert {word: word in ways + notes for word in said} == said, name
