"""The page of the calls, on a real gateway process."""

from __future__ import annotations

import re

from helpers.gateway import Gateway


def test_every_call_and_every_document_is_on_the_page_and_every_link_leads_somewhere(gateway: Gateway) -> None:
    page = gateway.get("/docs", key=None).body.decode()
    described = gateway.get("/openapi.json", key=None).json
    ids = re.findall(r' id="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    operations = {one["operationId"] for on in described["paths"].values() for one in on.values()}
    assert (operations | described["components"]["schemas"].keys()) <= set(ids)
    assert set(re.findall(r'href="#([^"]+)"', page)) <= set(ids)
    for path, on in described["paths"].items():
        assert all(f"<code>{method.upper()} {path}</code>" in page for method in on)


def test_generated_clients_can_tell_all_values_of_an_enum_apart(gateway: Gateway) -> None:
    """Generators make constants of them, without what no constant has, and many give up where two are alike."""
    for name, schema in gateway.get("/openapi.json", key=None).json["components"]["schemas"].items():
        values = schema.get("enum", [])
        words = schema.get("x-enum-varnames") or [re.sub(r"\W", "", value) for value in values]
        assert len(words) == len(values) == len(set(words)), name
        assert all(word.isidentifier() for word in words), name


def test_the_page_takes_nothing_from_elsewhere_and_has_no_script(gateway: Gateway) -> None:
    reply = gateway.get("/docs", key=None)
    policy = reply.headers["content-security-policy"]
    assert reply.headers["content-type"] == "text/html; charset=utf-8"
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "script-src" not in policy
    assert re.findall(rb"<(?:script|link|img|iframe)|javascript:|(?:src|href)=\"(?![#/])|style=", reply.body) == []
    assert gateway.call("HEAD", "/docs", key=None).body == b""
