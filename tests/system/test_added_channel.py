"""A channel that another installed package adds: one file, one table of the configuration, and everything knows it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from helpers import voice_calls
from helpers.added_packages import install, install_voice
from helpers.feeding import PARTITIONS, System
from helpers.places import ROOT
from helpers.sandbox_process import Sandbox, running_sandbox
from helpers.up import Up, carillon, running
from helpers.waiting import wait_for

from connectors.log.interface import TopicSpec
from state.model.channels import ADDED, CHANNELS
from state.model.keys import key_group

CALLED = {
    "CARILLON_TYPES__FIRE__KLASS": "P1",
    "CARILLON_TYPES__FIRE__CHANNELS": '["voice", "in_app"]',
    "CARILLON_TYPES__FIRE__CATEGORY": "service",
    "CARILLON_TYPES__ALARM__KLASS": "P0",
    "CARILLON_TYPES__ALARM__CHANNELS": '["voice"]',
}
GOOD, URGENT, BUSY_ONCE, DEAD = "+1 415 555 0100", "+14155550199", "+19995031001", "+15005550001"
BUSY, UNREAD = "+19995030001", "+14155550198"


@pytest.fixture
def site(tmp_path: Path) -> Path:
    return install_voice(tmp_path / "site")


def environment_of(site: Path, exchange: Sandbox) -> dict[str, str]:
    options = exchange.options.twilio
    lines = (f'{key} = "{getattr(options, key)}"' for key in ("origin", "account_sid", "auth_token", "sender"))
    (site / "carillon.toml").write_text("\n".join(("[providers.installed.voice]", *lines)))
    return {"PYTHONPATH": str(site), "CARILLON_CONFIG": str(site / "carillon.toml"), **CALLED}


def deliveries(up: Up) -> dict[str, tuple[str, str, int]]:
    """By user: provider, end and number of tries of what went by voice."""
    found = [each for each in up.ledger() if each["kind"] == "delivery" and each["channel"] == "voice"]
    return {each["user"]: (each["provider"], each["outcome"], len(each["attempts"])) for each in found}


def test_its_addresses_are_registered_its_events_sent_and_the_ledger_knows(tmp_path: Path, site: Path) -> None:
    with running_sandbox(tmp_path / "exchange") as exchange:
        with running(tmp_path / "data", environment=environment_of(site, exchange)) as up:
            assert_addresses_are_judged(up)
            for user, address in {"ann": GOOD, "bob": BUSY_ONCE, "cas": DEAD, "dan": GOOD}.items():
                status, answer = up.call("PUT", f"/v1/users/{user}/endpoints/voice/home", {"address": address})
                assert status == 200, answer
            status, answer = up.call(
                "PATCH", "/v1/preferences", {"unsubscribed": {"voice": ["service"]}}, bearer=up.session("dan")
            )
            assert status == 200, answer
            for user in ("ann", "bob", "cas", "dan"):
                event = {"event_id": f"fire-{user}", "type": "fire", "target": user, "payload": {"title": "Fire"}}
                assert up.post(event) in (200, 202)
            assert up.post({"event_id": "alarm", "type": "alarm", "target": "eve", "to": {"voice": URGENT}}, p0=True)
            wait_for(lambda: set(deliveries(up)) == {"ann", "bob", "cas", "eve"}, what="a call of each", every_s=3)
            assert {user: found[:2] for user, found in deliveries(up).items()} == {
                "ann": ("voice", "DELIVERED"), "bob": ("voice", "DELIVERED"), "cas": ("voice", "DEAD_LETTER"),
                "eve": ("voice", "DELIVERED"),
            }  # fmt: skip
            assert deliveries(up)["bob"][2] == 2, "its second try"
            decided = {each["user"]: each for each in up.ledger() if each["kind"] == "decision"}
            assert decided["ann"]["channels"] == ["voice"]
            assert decided["dan"]["channels"] == []
            assert "Telephone call" in up.carillon("explain", "--event", "fire-ann", "--user", "ann").stdout
            wait_for(lambda: not has_address(up, "cas"), what="the end of the dead number")
            assert_everything_names_it(up)
            assert up.stop() == 0
            assert_it_is_read_where_its_package_is_not(up)
        assert [entry["status"] for entry in exchange.to("twilio", GOOD.replace(" ", ""))] == [201]


def assert_addresses_are_judged(up: Up) -> None:
    status, answer = up.call("PUT", "/v1/users/ann/endpoints/voice/home", {"address": "Ann's phone"})
    assert (status, [each["path"] for each in answer["errors"]]) == (400, ["address"])
    assert "send a telephone number, as +49 30 12345678" in json.dumps(answer)
    status, answer = up.call("PUT", "/v1/users/ann/endpoints/pigeon/home", {"address": GOOD})
    assert status in (400, 404)
    assert "voice" in json.dumps(answer), "the remedy names what there is"
    event = {"type": "alarm", "target": "eve", "to": {"voice": "Eve's phone"}}
    status, answer = up.call("POST", "/v1/notifications", event, key="p0_producer", p0=True)
    assert (status, [each["path"] for each in answer["errors"]]) == (400, ["to.voice"])


def has_address(up: Up, user: str) -> bool:
    status, answer = up.call("GET", f"/v1/users/{user}/endpoints")
    assert status == 200, answer
    return bool(answer["endpoints"])


def assert_everything_names_it(up: Up) -> None:
    _, document = up.call("GET", "/openapi.json")
    assert "voice" in document["components"]["schemas"]["Unsubscribed"]["properties"]
    _, offered = up.call("GET", "/v1/preferences/types?locale=de", bearer=up.session("ann"))
    assert offered["channels"]["voice"] == "Anruf"
    assert up.carillon("kill", "--channel", "voice", "--json").returncode == 0


def assert_it_is_read_where_its_package_is_not(up: Up) -> None:
    elsewhere = {**up.environment, "PYTHONPATH": ""}
    who = ("--event", "fire-ann", "--user", "ann")
    for command, said in {
        ("explain", *who): "voice", ("ledger", *who): "voice/home voice", ("ledger", "--check"): "All laws hold.",
        ("progress", "fire-ann"): "1 recipients decided", ("audit", "verify"): "nothing was changed",
    }.items():  # fmt: skip
        done = carillon(*command, "--data", str(up.directory), environment=elsewhere)
        assert (done.returncode, said in done.stdout) == (0, True), done.stdout + done.stderr
        assert done.stderr.count("no package here adds the channel voice") == 1
    assert "types.fire.channels: voice is not known" in carillon("up", environment=elsewhere).stderr


def test_a_lane_sends_it_while_it_is_there_and_nothing_twice_when_it_is_back(
    tmp_path: Path, site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running_sandbox(tmp_path) as exchange:
        system = System(tmp_path)
        there = {name: value for name, value in environment_of(site, exchange).items() if name not in CALLED}
        elsewhere = {"PYTHONPATH": "", "CARILLON_CONFIG": os.devnull}
        system.log.ensure_topics([TopicSpec("deliver.voice", 2 * PARTITIONS, compacted=False, retention_ms=None)])

        def run(environment: Mapping[str, str], ended: int, *sent: tuple[str, str, str]) -> None:
            for name, value in environment.items():
                monkeypatch.setenv(name, value)
            with system.flow("deliver"):
                for user, channel, address in sent:
                    system.feed([system.emission(user, channel, [("home", address)])])
                wait_for(lambda: len(system.deliveries()) == ended, what=system.output("deliver"))
                wait_for(lambda: not sent or key_group(sent[-1][0]) in system.counts("deliver"))
                wait_for(lambda: not sent or exchange.to("twilio", sent[-1][2]))

        run(elsewhere, 1, ("u1", "sms", "+14155550102"))
        run(there, 2, ("u2", "voice", URGENT), ("u3", "voice", BUSY))
        system.feed([system.emission("u4", "voice", [("home", UNREAD)])])
        run(elsewhere, 3, ("u5", "sms", "+14155550105"))
        run(elsewhere, 4, ("u6", "sms", "+14155550106"))
        run(there, 6)
        found = {
            user: (each["outcome"], len(each["attempts"]))
            for each in system.deliveries().values()
            for user in [each["user"]]
        }
        assert found == dict.fromkeys(("u1", "u2", "u4", "u5", "u6"), ("DELIVERED", 1)) | {"u3": ("DEAD_LETTER", 3)}
        calls = {number: len(exchange.to("twilio", number)) for number in (URGENT, BUSY, UNREAD)}
        assert calls == {URGENT: 1, BUSY: 3, UNREAD: 1}


def test_the_example_of_the_manual_is_this_one() -> None:
    manual = (ROOT / "OPERATING.md").read_text()
    assert f"```python added channel\n{Path(voice_calls.__file__).read_text()}```" in manual


def python(site: Path, code: str, *arguments: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=ROOT, env={"PYTHONPATH": f"{site}:{ROOT}"}, check=True,
        capture_output=True, text=True, timeout=120,
    ).stdout  # fmt: skip


def test_every_process_has_them_in_one_order_behind_carillons_own(tmp_path: Path, site: Path) -> None:
    install(site, "abacus", {"carillon.channels": {"abacus": "abacus:CHANNEL"}})
    names = python(site, "from state.model.channels import CHANNELS; print(*CHANNELS)").split()
    assert names == ["push", "sms", "email", "webhook", "chat", "abacus", "voice", "in_app"]
    assert (CHANNELS, ADDED) == (("push", "sms", "email", "webhook", "chat", "in_app"), ()), "here is none"


STORE = """
import sys
from pathlib import Path
from state.decide.checkpoint import GroupStore
from state.model.delivery import Endpoint
from state.model.channels import CHANNEL_BIT
from state.model.registry import load_registry

store = GroupStore(Path(sys.argv[1]))
state = store.load(0, load_registry())
if sys.argv[2:]:
    state.users.set_endpoint("ann", Endpoint("voice", "home", None, "+14155550100", True, 1, 1))
bits = int(state.users.usable[0])
print([name for name, bit in CHANNEL_BIT.items() if bits & bit], bits)
store.collect(0, state)
store.commit()
store.close()
"""


def test_state_of_one_set_of_channels_is_right_with_another(tmp_path: Path, site: Path) -> None:
    more = install(install_voice(tmp_path / "more"), "abacus", {"carillon.channels": {"abacus": "abacus:CHANNEL"}})
    none = tmp_path / "none"
    none.mkdir()
    directory = str(tmp_path / "decide")
    assert python(site, STORE, directory, "begin") == "['voice'] 32\n"
    for _ in range(2):
        assert python(more, STORE, directory) == "['voice'] 64\n"
        assert python(site, STORE, directory) == "['voice'] 32\n"
    assert python(none, STORE, directory) == "[] 0\n"
    assert python(site, STORE, directory) == "['voice'] 32\n"


def channel_of(name: str, code: str = "", package: str = "odd") -> dict[str, Any]:
    return {"package": package, "points": {"carillon.channels": {name: f"{package}:CHANNEL"}}, "code": code}


KEPT = "from state.model.channels import AddedChannel\nCHANNEL = AddedChannel(names={'en': 'Kept'})\n"


@pytest.mark.parametrize(
    ("packages", "said"),
    [
        ([channel_of("push")], "channel push: it is Carillon's own"),
        ([channel_of("Pigeon")], "channel Pigeon: it is Carillon's own, or no name"),
        ([channel_of("voice", KEPT)], "channel voice: two installed packages add it"),
        ([channel_of("odd")], "channel odd: odd:CHANNEL cannot be loaded: AttributeError"),
        ([channel_of("odd", "CHANNEL = 1")], "channel odd: odd:CHANNEL is no AddedChannel"),
        ([channel_of("odd", KEPT.replace(")\n", ", text_max=100)\n"))], "channel odd: text_max must be 240 or more"),
        (
            [channel_of(name, KEPT, name) for name in ("abacus", "banjo", "zither")],
            "channel zither: installed packages add more than 3",
        ),
    ],
)
def test_what_is_wrong_with_one_is_named(
    tmp_path: Path, site: Path, packages: list[Mapping[str, Any]], said: str
) -> None:
    for each in packages:
        install(site, each["package"], each["points"], each["code"])
    environment = {"PYTHONPATH": str(site), "CARILLON_CONFIG": "/dev/null"}
    done = carillon("check", "--json", "--data", str(tmp_path / "data"), environment=environment)
    assert done.returncode == 1
    assert said in done.stderr


def test_check_tries_its_provider_and_a_type_may_name_it_only_where_it_is(tmp_path: Path, site: Path) -> None:
    data = ("--data", str(tmp_path / "data"))
    done = carillon("check", "--json", *data, environment={**CALLED, "CARILLON_CONFIG": "/dev/null"})
    assert done.returncode == 1
    assert "types.fire.channels: voice is not known; use push, sms, email, webhook, chat, in_app" in done.stderr
    with running_sandbox(tmp_path / "exchange") as exchange:
        done = carillon("check", "--json", *data, environment=environment_of(site, exchange))
    assert done.returncode == 0, done.stdout + done.stderr
    assert '"provider telephone calls (voice)"' in done.stdout
