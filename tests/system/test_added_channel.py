"""A channel that another installed package adds: one file, one table of the configuration, and everything knows it.

Tests that take the running system stand in the order in which it meets them: providers that are away stay away.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from helpers import voice_calls
from helpers.added_packages import install, install_voice
from helpers.feeding import PARTITIONS, System, now_ms
from helpers.places import ROOT
from helpers.sandbox_process import Sandbox, running_sandbox
from helpers.steering import steering_of
from helpers.up import Up, carillon, running
from helpers.waiting import wait_for

from connectors.log.embedded.log import EmbeddedLog
from connectors.log.interface import TopicSpec
from connectors.log.read_to_ends import stored_records
from state.model.channels import ADDED, CHANNELS
from state.model.delivery import EMISSION_SLICE
from state.model.envelope import schema_of
from state.model.keys import key_group

CALLED = {
    "CARILLON_TYPES__FIRE__KLASS": "P1",
    "CARILLON_TYPES__FIRE__CHANNELS": '["voice", "in_app"]',
    "CARILLON_TYPES__FIRE__CATEGORY": "service",
    "CARILLON_TYPES__ALARM__KLASS": "P0",
    "CARILLON_TYPES__ALARM__CHANNELS": '["voice"]',
    "CARILLON_TYPES__NEWS__CHANNELS": '["voice"]',
    "CARILLON_TYPES__NEWS__FAN_OUT": '["BROADCAST"]',
    "CARILLON_TYPES__WORD__KLASS": "P0",
    "CARILLON_TYPES__WORD__CHANNELS": '["sms", "voice"]',
    "CARILLON_TYPES__CODE__KLASS": "P0",
    "CARILLON_TYPES__CODE__CHANNELS": '["voice", "email"]',
    "CARILLON_TYPES__BRIEF__CHANNELS": '["voice", "email"]',
    "CARILLON_TYPES__BRIEF__TTL_MS": "8000",
}
SECOND = """
from voice_calls import TwilioOptions, Provider, VoiceChannel, time

class Second(VoiceChannel):
    name = "second"

def connector(options, egress):
    return Second(options, clock_ms=lambda: time.time_ns() // 1_000_000)

PROVIDER = Provider(("voice", "*"), "calls by the second exchange", TwilioOptions, connector, "voice.line")
"""
MANY = range(25)
"""Enough for a breaker."""
GOOD, URGENT, BUSY_ONCE, DEAD = "+1 415 555 0100", "+14155550199", "+19995031001", "+15005550001"
BUSY, UNREAD = "+19995030001", "+14155550198"


@pytest.fixture
def site(tmp_path: Path) -> Path:
    return install_voice(tmp_path / "site")


class Calls(NamedTuple):
    """A running system with two exchanges, the second on standby."""

    up: Up
    first: Sandbox
    second: Sandbox


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Calls]:
    site = install_voice(tmp_path_factory.mktemp("site"))
    install(site, "second_calls", {"carillon.providers": {"second": "second_calls:PROVIDER"}}, SECOND)
    directories = [tmp_path_factory.mktemp(name) for name in ("first", "second", "data")]
    with ExitStack() as stack:
        first, second = (stack.enter_context(running_sandbox(each)) for each in directories[:2])
        up = stack.enter_context(running(directories[2], environment=environment_of(site, first, second)))
        yield Calls(up, first, second)


def environment_of(site: Path, *exchanges: Sandbox) -> dict[str, str]:
    tables = []
    for name, exchange in zip(("voice", "second"), exchanges, strict=False):
        options = exchange.options.twilio
        lines = (f'{key} = "{getattr(options, key)}"' for key in ("origin", "account_sid", "auth_token", "sender"))
        tables += [f"[providers.installed.{name}]", *lines, f"standby = {str(name == 'second').lower()}"]
    (site / "carillon.toml").write_text("\n".join(tables))
    return {"PYTHONPATH": str(site), "CARILLON_CONFIG": str(site / "carillon.toml"), **CALLED}


def deliveries(up: Up) -> dict[str, tuple[str, str, int]]:
    """By user: provider, end and number of tries of what went by voice."""
    found = [each for each in up.ledger() if each["kind"] == "delivery" and each["channel"] == "voice"]
    return {each["user"]: (each["provider"], each["outcome"], len(each["attempts"])) for each in found}


def test_its_addresses_are_registered_its_events_sent_and_the_ledger_knows(calls: Calls) -> None:
    up = calls.up
    assert_addresses_are_judged(up)
    for user, address in {"ann": GOOD, "bob": BUSY_ONCE, "cas": DEAD, "dan": GOOD}.items():
        register(up, user, address)
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
    assert [entry["status"] for entry in calls.first.to("twilio", GOOD.replace(" ", ""))] == [201]


def register(up: Up, user: str, address: str) -> None:
    status, answer = up.call("PUT", f"/v1/users/{user}/endpoints/voice/home", {"address": address})
    assert status == 200, answer


def test_what_goes_to_many_is_decided_in_columns(calls: Calls) -> None:
    up = calls.up
    fans = [name for name in (f"fan{n}" for n in range(24_000)) if key_group(name) == 7][:40]
    for number, user in enumerate(fans):
        register(up, user, f"+1415556{number:04}")
    assert up.post({"event_id": "news", "type": "news", "fan_out_type": "BROADCAST", "payload": {"title": "Hi"}}) == 202
    wait_for(lambda: set(fans) <= set(deliveries(up)), what="a call of each", every_s=3)
    found = deliveries(up)
    assert {found[user][:2] for user in fans} == {("voice", "DELIVERED")}
    log, topic = EmbeddedLog(up.directory, clock=now_ms), "deliver.voice"
    places = {(topic, partition): 0 for partition in range(log.partitions(topic))}
    assert EMISSION_SLICE in {schema_of(record.headers) for record in stored_records(log, places)}
    log.close()


def post_codes(up: Up, type_name: str, users: str, **to: str) -> list[str]:
    """To addresses of so many people, which their numbers end; gives who they are."""
    names = [f"{users}{number}" for number in MANY]
    for number, name in zip(MANY, names, strict=True):
        addresses = {channel: pattern.format(f"{number:04}") for channel, pattern in to.items()}
        event = {"event_id": name, "type": type_name, "target": name, "to": addresses, "payload": {"title": "1234"}}
        assert up.post(event, p0=True) in (200, 202)
    return names


def ends(up: Up, names: list[str]) -> Counter[tuple[str, str]]:
    """How often what of theirs ended, by channel or, where it was delivered, provider."""
    mine = [each for each in up.ledger() if each["kind"] == "delivery" and each["user"] in names]
    return Counter(
        (each["provider"] if each["outcome"] == "DELIVERED" else each["channel"], each["outcome"]) for each in mine
    )


def test_text_messages_go_as_calls_where_their_provider_is_away(calls: Calls) -> None:
    steering_of(calls.up.directory).put("twilio", "503")
    names = post_codes(calls.up, "word", "word", sms="+1415557{}", voice="+1415558{}")
    expected = {("sms", "FELL_BACK"): len(MANY), ("voice", "DELIVERED"): len(MANY)}
    wait_for(lambda: ends(calls.up, names) == expected, what=lambda: f"{ends(calls.up, names)}", every_s=3)


def test_the_second_exchange_goes_on_and_mail_where_both_are_away_while_there_is_time(calls: Calls) -> None:
    up = calls.up
    calls.first.steering().put("twilio", "503")
    names = post_codes(up, "code", "first", voice="+1415559{}", email="first{}@example.com")
    expected = {("second", "DELIVERED"): len(MANY)}
    wait_for(lambda: ends(up, names) == expected, what=lambda: f"{ends(up, names)}", every_s=3)
    calls.second.steering().put("twilio", "503")
    late = [f"late{number}" for number in MANY]
    for number, user in zip(MANY, late, strict=True):
        register(up, user, f"+1415551{number:04}")
        status, answer = up.call("PUT", f"/v1/users/{user}/endpoints/email/m", {"address": f"{user}@example.com"})
        assert status == 200, answer
    for user in late:
        assert up.post({"event_id": user, "type": "brief", "target": user, "payload": {"title": "Hi"}}) == 202
    names = post_codes(up, "code", "both", voice="+1415552{}", email="both{}@example.com")
    expected = {("voice", "FELL_BACK"): len(MANY), ("smtp", "DELIVERED"): len(MANY)}
    wait_for(lambda: ends(up, names) == expected, what=lambda: f"{ends(up, names)}", every_s=3)
    wait_for(lambda: ends(up, late).total() >= len(MANY), what=lambda: f"{ends(up, late)}", every_s=3)
    found = ends(up, late)
    assert found[("voice", "EXPIRED")] > 0, "what waited until its time was over has no mail"
    mailed = {str(each["to"]) for each in up.provider("smtp") if "late" in str(each["to"])}
    assert len(mailed) == found[("smtp", "DELIVERED")] == found[("voice", "FELL_BACK")]
    assert found.total() == len(MANY) + len(mailed)


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
    for how in ((), ("--lift",)):
        assert up.carillon("kill", "--channel", "voice", *how, "--json").returncode == 0


def test_it_stops_and_is_read_where_its_package_is_not(calls: Calls) -> None:
    up = calls.up
    assert up.stop() == 0
    elsewhere = {**up.environment, "PYTHONPATH": ""}
    who = ("--event", "fire-ann", "--user", "ann")
    for command, said in {
        ("explain", *who): "voice", ("ledger", *who): "voice/home voice", ("ledger", "--check"): "All laws hold.",
        ("progress", "fire-ann"): "1 recipients decided", ("audit", "verify"): "nothing was changed",
        ("dead-letters", "list", "--all"): "", ("kill", "--list"): "No kill switch is set",
    }.items():  # fmt: skip
        done = carillon(*command, "--data", str(up.directory), environment=elsewhere)
        assert (done.returncode, said in done.stdout) == (0, True), done.stdout + done.stderr
        assert done.stderr.count("no package here adds the channel voice") == 1
    done = carillon("canary", version("carillon"), "--json", "--data", str(up.directory), environment=elsewhere)
    assert '"verdict"' in done.stdout, done.stderr
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
