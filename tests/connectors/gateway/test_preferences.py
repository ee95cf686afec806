"""The calls of users about their preferences, on a real gateway process."""

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec
import pytest
from helpers.callers import user_call
from helpers.gateway import Gateway, running


def test_preferences_are_whole_documents_with_versions(gateway: Gateway) -> None:
    user = uuid4().hex
    empty = user_call(gateway, "GET", "/v1/preferences", user=user)
    assert (empty.status, empty.json) == (200, {})
    document = {
        "master": True,
        "quiet_hours": {"enabled": True, "timezone": "Europe/Paris"},
        "muted": {"actors": ["x"]},
    }
    put = user_call(gateway, "PUT", "/v1/preferences", document, user=user, if_match=empty.headers["etag"])
    assert put.status == 200
    got = user_call(gateway, "GET", "/v1/preferences", user=user)
    assert (got.json, got.headers["etag"]) == (document, put.headers["etag"])
    assert {"user": user, "doc": document} in gateway.values("preferences")


def test_stale_if_match_is_412_and_changes_nothing(gateway: Gateway) -> None:
    user = uuid4().hex
    old = user_call(gateway, "PUT", "/v1/preferences", {"master": True}, user=user).headers["etag"]
    new = user_call(gateway, "PUT", "/v1/preferences", {"master": False}, user=user).headers["etag"]
    for method in ("PUT", "PATCH"):
        reply = user_call(gateway, method, "/v1/preferences", {"master": True}, user=user, if_match=old)
        assert (reply.status, reply.headers["etag"]) == (412, new)
    assert user_call(gateway, "GET", "/v1/preferences", user=user).json == {"master": False}
    assert user_call(gateway, "PATCH", "/v1/preferences", {}, user=user, if_match=f'"x", {new}').status == 200
    assert user_call(gateway, "PUT", "/v1/preferences", {}, user=user, if_match="*").status == 200
    assert user_call(gateway, "PUT", "/v1/preferences", {}, user=uuid4().hex, if_match="*").status == 412


@pytest.mark.parametrize("tag", ["", " ", "x", '"x', '"x" "y"', '"x",', "W/x", "*, *"])
def test_an_if_match_that_is_none_is_400(gateway: Gateway, tag: str) -> None:
    for method in ("PUT", "PATCH"):
        reply = user_call(gateway, method, "/v1/preferences", {}, if_match=tag)
        assert (reply.status, reply.paths) == (400, {"If-Match"})
    assert user_call(gateway, "PUT", "/v1/preferences", {}, if_match='W/"1" , "x"').status == 412


@pytest.mark.parametrize("patch", [[], [{"master": True}], 5, "x", None])
def test_a_patch_that_is_no_object_is_400_whatever_it_is_to_match(gateway: Gateway, patch: Any) -> None:
    reply = user_call(gateway, "PATCH", "/v1/preferences", msgspec.json.encode(patch), if_match='"stale"')
    assert (reply.status, reply.paths) == (400, {""})


def test_what_the_registry_does_not_know_is_stored_and_named(gateway: Gateway) -> None:
    user = uuid4().hex
    document = {
        "types": {"liek": {"enabled": False}, "like": {"enabled": False}, "campaign_x": {"enabled": True}},
        "unsubscribed": {"email": ["marketing", "marketting"], "sms": None},
    }
    for method in ("PUT", "PATCH"):
        reply = user_call(gateway, method, "/v1/preferences", document, user=user)
        assert [warning["path"] for warning in reply.json["warnings"]] == ["types.liek", "unsubscribed.email[1]"]
    assert user_call(gateway, "GET", "/v1/preferences", user=user).json["types"] == document["types"]
    assert "warnings" not in user_call(gateway, "GET", "/v1/preferences", user=user).json
    assert user_call(gateway, "PUT", "/v1/preferences", {"warnings": []}, user=user).paths == {"warnings"}


def test_patch_merges_and_null_removes(gateway: Gateway) -> None:
    user = uuid4().hex
    user_call(gateway, "PUT", "/v1/preferences", {"types": {"like": {"enabled": False}}, "master": True}, user=user)
    patch = {"types": {"like": None, "comment": {"channels": ["email"]}}, "frequency_cap": {"max_per_day": 1}}
    reply = user_call(gateway, "PATCH", "/v1/preferences", patch, user=user)
    expected = {
        "types": {"comment": {"channels": ["email"]}}, "master": True, "frequency_cap": {"max_per_day": 1},
    }  # fmt: skip
    assert reply.json == expected
    assert user_call(gateway, "GET", "/v1/preferences", user=user).json == expected


def test_parallel_patches_lose_nothing(gateway: Gateway) -> None:
    user = uuid4().hex
    with ThreadPoolExecutor(8) as pool:
        replies = list(
            pool.map(
                lambda number: user_call(
                    gateway, "PATCH", "/v1/preferences", {"types": {f"t{number}": {"enabled": False}}}, user=user
                ),
                range(24),
            )
        )
    assert {reply.status for reply in replies} == {200}
    assert len({reply.headers["etag"] for reply in replies}) == 24
    assert len(user_call(gateway, "GET", "/v1/preferences", user=user).json["types"]) == 24


@pytest.mark.parametrize(
    ("document", "paths"),
    [
        (
            {
                "master": "yes",
                "quiet_hours": {"start": "24:00", "end": "8", "timezone": "Mars/Base", "x": 1},
                "user": 1,
            },
            {"master", "quiet_hours.start", "quiet_hours.end", "quiet_hours.timezone", "quiet_hours.x", "user"},
        ),
        (
            {"frequency_cap": {"max_per_hour": -1}, "types": {"like": {"channels": ["fax"]}}, "muted": {"actors": [1]}},
            {"frequency_cap.max_per_hour", "types.like.channels[0]", "muted.actors[0]"},
        ),
        ({"unsubscribed": {"fax": []}, "types": [], "quiet_hours": 1}, {"unsubscribed.fax", "types", "quiet_hours"}),
        ([], {""}),
    ],
)
def test_wrong_preferences_are_400_with_every_error(gateway: Gateway, document: Any, paths: set[str]) -> None:
    reply = user_call(gateway, "PUT", "/v1/preferences", document)
    assert (reply.status, reply.paths) == (400, paths)


def test_preferences_survive_a_restart_and_a_deleted_directory(tmp_path: Path) -> None:
    with running(tmp_path) as gateway:
        put = user_call(gateway, "PUT", "/v1/preferences", {"master": False})
        gateway.stop()
        for file in (tmp_path / "state" / "gateway").glob("directory.sqlite*"):
            file.unlink()
        gateway.start()
        got = user_call(gateway, "GET", "/v1/preferences")
        assert (got.json, got.headers["etag"]) == ({"master": False}, put.headers["etag"])


def test_a_directory_that_cannot_be_read_is_503(tmp_path: Path) -> None:
    """It is read again from the log; 500 says that the same call fails again."""
    with running(tmp_path) as gateway:
        assert user_call(gateway, "GET", "/v1/preferences").status == 200
        with closing(sqlite3.connect(tmp_path / "state" / "gateway" / "directory.sqlite")) as other:
            other.execute("DROP TABLE preference")
        assert user_call(gateway, "GET", "/v1/preferences").status == 503
