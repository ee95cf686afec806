"""Who may call what, generated from the OpenAPI document that the process serves."""

import re
from collections.abc import Iterator
from contextlib import nullcontext
from datetime import timedelta
from pathlib import Path
from typing import Any

import jwt
import pytest
from helpers.gateway import Gateway, Reply, now_ms, running, token
from helpers.gateway_process import USER_SECRET

PUBLIC = {
    "/healthz",
    "/readyz",
    "/metrics",
    "/openapi.json",
    "/v1/unsubscribe/{token}",
    "/v1/unsubscribe/{token}/less",
    "/components/index.json",
    "/components/{file}",
    "/preferences/{token}",
    "/preferences/zone.js",
    "/v1/callbacks/{provider}",
    "/docs",
}
KEYS = {
    "producer": "key-shop",
    "p0": "key-p0",
    "ops": "key-ops",
    "marketing": "key-marketing",
    "support": "key-support",
    "admin": "key-admin",
}
CONTRACT = {
    "/v1/notifications": {"producer", "p0"},
    "/v1/notifications/inbox": {"user"},
    "/v1/notifications/feedback": {"user"},
    "/v1/preferences": {"user"},
    "/v1/devices": {"user"},
    "/v1/users": {"producer"},
    "/v1/follows": {"producer"},
    "/v1/segments": {"producer"},
    "/v1/campaigns": {"marketing", "admin"},
    "/v1/templates": {"marketing", "admin"},
    "/v1/senders": {"producer", "p0", "ops", "admin"},
    "/v1/types": {"producer", "p0", "ops", "admin"},
    "/v1/ops": {"ops", "admin"},
    "/v1/approvals": {"ops", "admin"},
    "/v1/audit": {"ops", "admin"},
    "/v1/explain": {"support", "admin"},
    "/v1/support": {"support", "admin"},
}
"""Who may call what lies below an address: the longest one counts."""


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with running(tmp_path_factory.mktemp("gateway")) as started:
        yield started


@pytest.fixture(scope="module")
def operations(gateway: Gateway) -> list[tuple[str, str, dict[str, Any]]]:
    document = gateway.get("/openapi.json", key=None).json
    assert document["openapi"] == "3.1.0"
    return [
        (method.upper(), path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]


def forged() -> dict[str, str | None]:
    claims = {"sub": "anne", "aud": "carillon", "exp": now_ms() // 1000 + 300}
    without = {name: {key: value for key, value in claims.items() if key != name} for name in claims}
    good = token("anne")
    return {
        "none": None,
        "wrong key": "no-such-key",
        "expired": token("anne", lifetime=timedelta(seconds=-5)),
        "unsigned": jwt.encode(claims, "", algorithm="none"),
        "truncated": good[:-4],
        "other audience": token("anne", audience="elsewhere"),
        "other secret": token("anne", key="another secret of thirty-two bytes or so"),
        "other algorithm": jwt.encode(claims, USER_SECRET * 2, algorithm="HS512"),
        "no subject": jwt.encode(without["sub"], USER_SECRET),
        "no end": jwt.encode(without["exp"], USER_SECRET),
        "subject with a control": token("anne\n"),
        "empty": "",
    }


def call(gateway: Gateway, method: str, path: str, key: str | None) -> Reply:
    filled = re.sub(r"\{\w+\}", "x", path)
    body = b"{}" if method in ("POST", "PUT", "PATCH") else None
    return gateway.call(method, filled, body, key=key)


def test_every_operation_but_the_public_list_needs_a_credential(
    gateway: Gateway, operations: list[tuple[str, str, dict[str, Any]]]
) -> None:
    assert {path for _, path, operation in operations if not operation["security"]} == PUBLIC
    for method, path, operation in operations:
        for name, credential in forged().items() if operation["security"] else ():
            reply = call(gateway, method, path, credential)
            assert reply.status == 401, (method, path, name)
            assert reply.headers["www-authenticate"] == "Bearer"
            assert reply.json["status"] == 401


def test_a_good_token_under_another_scheme_is_401(gateway: Gateway) -> None:
    reply = gateway.get("/v1/preferences", key=None, headers={"authorization": f"Basic {token('anne')}"})
    assert reply.status == 401


def allowed(path: str) -> set[str]:
    return CONTRACT[max((begin for begin in CONTRACT if f"{path}/".startswith(f"{begin}/")), key=len)]


@pytest.mark.parametrize("kind", ["ordinary", "p0"])
def test_each_role_may_call_what_the_contract_says_and_is_told_why_not(
    gateway: Gateway, tmp_path: Path, kind: str
) -> None:
    with running(tmp_path, kind="p0") if kind == "p0" else nullcontext(gateway) as tried:
        refused = taken = 0
        for path, methods in tried.get("/openapi.json", key=None).json["paths"].items():
            for method in (name.upper() for name in methods if path not in PUBLIC):
                for role, key in {**KEYS, "user": token("anne")}.items():
                    reply = call(tried, method, path, key)
                    may = role in allowed(path)
                    assert (reply.status not in (401, 403)) == may, (method, path, role, reply.status)
                    why = "a user's token" if role == "user" else f"a key of role {role}"
                    assert may or reply.json["detail"].endswith(f"this is {why}"), (method, path, role)
                    taken += may
                    refused += not may
        assert (taken, refused) > ((40, 120) if kind == "ordinary" else (7, 20))


@pytest.mark.parametrize(
    ("role", "method", "path"),
    [
        ("ops", "POST", "/v1/notifications"), ("ops", "GET", "/v1/preferences"),
        ("marketing", "GET", "/v1/notifications/inbox"), ("support", "PUT", "/v1/preferences"),
        ("support", "POST", "/v1/notifications"), ("producer", "GET", "/v1/preferences"),
        ("producer", "POST", "/v1/ops/kill"), ("p0", "PUT", "/v1/users/{user}"),
    ],
)  # fmt: skip
def test_what_must_be_denied(gateway: Gateway, role: str, method: str, path: str) -> None:
    assert call(gateway, method, path, KEYS[role]).status == 403


def walk(schema: Any) -> Iterator[dict[str, Any]]:
    if isinstance(schema, dict):
        yield schema
        for value in schema.values():
            yield from walk(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from walk(value)


def test_documents_are_closed_objects(gateway: Gateway) -> None:
    objects = {
        name: schema
        for name, schema in gateway.get("/openapi.json", key=None).json["components"]["schemas"].items()
        if schema.get("type") == "object"
    }
    assert len(objects) > 25
    assert [name for name, schema in objects.items() if schema["additionalProperties"] is not False] == []


def test_everything_is_named_once_and_described(gateway: Gateway) -> None:
    document = gateway.get("/openapi.json", key=None).json
    assert document["servers"]
    for name, schema in document["components"]["schemas"].items():
        assert schema["description"], name
    for path, methods in document["paths"].items():
        for operation in methods.values():
            assert operation["description"], path
            inline = [schema for schema in walk(operation) if "properties" in schema]
            assert inline == [], path


def test_every_status_that_was_seen_is_documented(
    gateway: Gateway, operations: list[tuple[str, str, dict[str, Any]]]
) -> None:
    for method, path, operation in operations:
        for key in (*KEYS.values(), token("anne"), None):
            reply = call(gateway, method, path, key)
            assert str(reply.status) in operation["responses"], (method, path, reply.status)


def test_unknown_addresses_and_methods(gateway: Gateway) -> None:
    assert gateway.get("/v1/nothing").status == 404
    assert gateway.get("/v1/users/a/b/c/d/e").status == 404
    reply = gateway.call("PATCH", "/v1/notifications", {})
    assert (reply.status, reply.headers["allow"]) == (405, "POST")
    assert gateway.call("DELETE", "/v1/users/%ff/endpoints/push/x").status == 400
    head = gateway.call("HEAD", "/healthz", key=None)
    assert (head.status, head.body) == (200, b"")


def test_every_answer_bears_the_safety_headers(gateway: Gateway) -> None:
    for reply in (gateway.get("/healthz", key=None), gateway.get("/nothing"), gateway.post({})):
        assert reply.headers["x-content-type-options"] == "nosniff"
        assert reply.headers["cache-control"] == "no-store"
        assert "server" not in reply.headers


def test_refusals_repeat_no_value(gateway: Gateway) -> None:
    canary = "canary-4711\x00"
    event = {"type": canary, "target": canary, "payload": canary, "to": {"push": canary}, "idempotency_key": canary}
    for reply in (gateway.post(event), gateway.get("/x", key=canary[:-1])):
        assert b"canary" not in reply.body
