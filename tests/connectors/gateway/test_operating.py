"""Dead letters and health by the API, on a real gateway process."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from helpers.gateway import Gateway, running
from helpers.letters import letter

LETTERS, HEALTH = "/v1/ops/dead-letters", "/v1/ops/health"


@pytest.fixture(scope="module")
def failed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with running(tmp_path_factory.mktemp("failed")) as gateway:
        gateway.log.append([letter("pager", 100 + number, "malformed", age_ms=90_000 * number) for number in range(5)])
        yield gateway


def decided(gateway: Gateway, name: str, decision: str, key: str = "key-ops") -> tuple[int, str]:
    body = {"letter": name, "decision": decision, "reason": "seen"}
    reply = gateway.call("POST", LETTERS, body, key=key)
    return reply.status, reply.json.get("detail", "")


@pytest.mark.parametrize("path", [LETTERS, HEALTH])
def test_only_ops_and_administrators_ask(failed: Gateway, path: str) -> None:
    for key in ("key-shop", "key-p0", "key-support", "key-marketing"):
        reply = failed.get(path, key=key)
        assert reply.status == 403
        assert "keys of role admin or ops" in reply.json["detail"]
    assert failed.get(path, key=None).status == 401
    assert failed.get(path, key="key-admin").status == 200


def test_letters_are_turned_over_and_decided_once(failed: Gateway) -> None:
    first = failed.get(f"{LETTERS}?sender=pager&limit=3", key="key-ops").json
    second = failed.get(f"{LETTERS}?sender=pager&limit=3&cursor={first['cursor']}", key="key-ops").json
    names = [each["id"] for each in (*first["letters"], *second["letters"])]
    assert (len(names), len({*names}), second["cursor"]) == (5, 5, None)
    assert {each["status"] for each in first["letters"]} == {"open"}
    assert decided(failed, names[0], "discard") == (200, "")
    assert failed.values("audit")[-1]["about"]["letter"] == names[0]
    assert decided(failed, names[0], "discard") == (409, "it was discarded already; nothing was done")
    status, detail = decided(failed, names[1], "retry")
    assert (status, "nothing was done" in detail) == (409, True), "its record is in no log"
    assert decided(failed, "decide/work/0/9/9", "retry")[0] == 404
    left = failed.get(f"{LETTERS}?sender=pager", key="key-ops").json["letters"]
    assert [each["id"] for each in left] == names[1:]
    everything = failed.get(f"{LETTERS}?sender=pager&all=true", key="key-ops").json["letters"]
    assert [each["status"] for each in everything] == ["discarded", *["open"] * 4]


def test_one_of_p0_is_discarded_by_a_second_person(failed: Gateway) -> None:
    failed.log.append([letter("bank", 900, "malformed", type_name="otp")])
    (name,) = (each["id"] for each in failed.get(f"{LETTERS}?sender=bank", key="key-ops").json["letters"])
    assert decided(failed, name, "discard")[0] == 202
    (left,) = failed.get(f"{LETTERS}?sender=bank", key="key-ops").json["letters"]
    assert left["status"] == "open"


@pytest.mark.parametrize("key", ["key-shop", "key-p0", "key-support", "key-marketing"])
def test_others_decide_nothing(failed: Gateway, key: str) -> None:
    (name, *_) = (each["id"] for each in failed.get(f"{LETTERS}?all=true", key="key-ops").json["letters"])
    assert decided(failed, name, "discard", key)[0] == 403


def test_what_is_not_understood_is_named(failed: Gateway) -> None:
    for query, path in (("stage=nowhere", "stage"), ("all=yes", "all"), ("limit=0", "limit"), ("cursor=7", "cursor")):
        reply = failed.get(f"{LETTERS}?{query}", key="key-ops")
        assert (reply.status, reply.paths) == (400, {path})
    assert failed.call("POST", LETTERS, {"letter": "x", "decision": "burn"}, key="key-ops").paths == {"decision"}


def test_health_says_what_waits_and_who_is_away(failed: Gateway) -> None:
    told = failed.get(HEALTH, key="key-ops").json
    assert told.keys() == {"providers", "lanes", "waiting", "archive_behind_s", "credentials"}
    assert all(isinstance(told[name], list) for name in ("providers", "lanes", "waiting"))
