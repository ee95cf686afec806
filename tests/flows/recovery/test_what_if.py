"""What a policy would have done to a stored log: who gains, who loses, volume and cost, and nothing is written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from helpers.flow_bench import Bench, calls
from typer.testing import CliRunner

from connectors.types import Tables
from flows.cli import app
from flows.config.settings import Settings, load_settings
from flows.process.open import clock_ms
from flows.recovery.replay import ReplayRange, opened_origin
from flows.recovery.what_if import Difference, HeardBy, what_if

SETTINGS: Settings = load_settings(environment={})
ADDRESSES = {"push": "a" * 64, "email": "u@example.org"}


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """u1 and u2 have phone and mailbox, u3 a mailbox; u1 is mentioned six times, the others once."""
    made = Bench(tmp_path)
    made.clock.now = clock_ms()
    for user, channels in {"u1": ("push", "email"), "u2": ("push", "email"), "u3": ("email",)}.items():
        for channel in channels:
            row = {"user": user, "channel": channel, "id": "d", "platform": "ios" if channel == "push" else ""}
            made.append(made.setting("endpoints", user, **row, address=ADDRESSES[channel], state="active"))
    made.append(*(made.event(f"e{n}", "mention", object=f"o{n}") for n in range(6)))
    made.append(*(made.event(f"m{user}", "mention", target=user, object="o") for user in ("u2", "u3")))
    made.append(made.event("like", "like", object="o"))
    made.sequence(clock=clock_ms)
    made.decide(calls(40))
    return made


def found(bench: Bench, policy: Tables, log: str | None = None, **span: int) -> Difference:
    wanted = ReplayRange(span.get("from_ms", 0), span.get("to_ms", 1 << 50))
    with opened_origin(log or str(bench.directory), SETTINGS) as origin:
        return what_if(origin, wanted, policy, lambda _done, _all: None)


def told(bench: Bench, policy: str, *options: str) -> list[dict[str, Any]]:
    file = bench.directory / "new.toml"
    file.write_text(policy)
    arguments = ["what-if", str(bench.directory), "--policy", str(file), "--json", *options]
    done = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_what_is_the_same_policy_changes_nothing(bench: Bench) -> None:
    same = found(bench, {"mention": {}})
    assert (same.events, same.changes()) == (8, [])
    assert same.named("channels") == [("push", 8, 8)]
    assert same.was == same.would


def test_who_gains_and_who_loses_and_what_each_channel_carries(bench: Bench) -> None:
    ends = [bench.log.end_offset(topic, 0) for topic in ("work", "ledger", "registry")]
    mail = found(bench, {"mention": {"channels": ["email", "in_app"], "digest": False}, "like": {"channels": ["push"]}})
    assert mail.named("channels") == [("email", 0, 8), ("push", 8, 1)]
    assert mail.changes() == [("u1", HeardBy(7, 7), HeardBy(7, 6)), ("u3", HeardBy(0, 1), HeardBy(1, 1))]
    assert ends == [bench.log.end_offset(topic, 0) for topic in ("work", "ledger", "registry")]


def test_a_stretch_and_the_decisions_outside_of_it(bench: Bench) -> None:
    nothing = found(bench, {"mention": {"enabled": False}}, to_ms=bench.clock.now - 86_400_000)
    assert (nothing.was.decisions, nothing.would.decisions, nothing.events) == (0, 0, 0)


def test_the_command_tells_it_and_what_it_costs(bench: Bench) -> None:
    policy = '[types.mention]\nchannels = ["email", "in_app"]\ndigest = false\n'
    lines = told(bench, policy, "--price", "email=0.5", "--price", "push=0.25")
    assert lines[0] == {
        "kind": "summary", "types": ["mention"], "events": 8, "payloads_refused": 0,
        "decisions": {"was": 9, "would": 9}, "gain": 1, "lose": 0,
    }  # fmt: skip
    channels = {each["channel"]: each for each in lines if each["kind"] == "channel"}
    assert channels["email"]["cost"] == {"was": 0, "would": 4.0}
    assert channels["push"]["cost"] == {"was": 2.0, "would": 0.25}
    assert [each["user"] for each in lines if each["kind"] == "user"] == ["u3"]


def test_people_read_it_too(bench: Bench) -> None:
    file = bench.directory / "new.toml"
    file.write_text("[types.mention]\nenabled = false\n")
    arguments = ["what-if", str(bench.directory), "--policy", str(file)]
    done = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert "0 users would hear more, 3 less" in done.stdout
    assert "u1   " in done.stdout
    assert "7 -> 1 notifications" in done.stdout


@pytest.mark.parametrize(
    ("policy", "options", "said"),
    [
        ("", (), "names no type"),
        ("[types.otp]\nklass = 'P1'\n", (), "pinned"),
        ("[types.like]\nwindow = 3\n", (), "window"),
        ("[types.like]\n", ("--to", "2001-01-01"), "no decision of P1 or P2 lies between"),
    ],
)
def test_what_cannot_be_told_says_why(bench: Bench, policy: str, options: tuple[str, ...], said: str) -> None:
    file = bench.directory / "new.toml"
    file.write_text(policy)
    with pytest.raises(Exception, match=said):
        CliRunner().invoke(
            app, ["what-if", str(bench.directory), "--policy", str(file), *options], catch_exceptions=False
        )
