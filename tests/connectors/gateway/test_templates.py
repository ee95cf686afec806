"""What notifications say, by HTTP: published, previewed, rolled back, taken back, and by whom."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from helpers.gateway import Gateway, Reply, running

MARKETING, ADMIN = "key-marketing", "key-admin"
LIKE = {"title": "Curtida", "one": "{{ actor }} curtiu", "many": ["{{ who }} curtiram."]}
CODE = {"title": "Código", "one": "{{ p.code }} é seu código"}
CALLS = (
    ("GET", ""), ("GET", "/like/pt"), ("PUT", "/like/pt"), ("DELETE", "/like/pt"), ("GET", "/like/pt/versions"),
    ("POST", "/like/pt/rollback"), ("POST", "/like/pt/preview"), ("POST", "/like/pt/test"),
)  # fmt: skip


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    schema = '{"type": "object", "properties": {"price": {"type": "string", "examples": ["3 €"]}}}'
    with running(tmp_path_factory.mktemp("templates"), types={"offer": {"schema": schema}}) as gateway:
        yield gateway


def call(gateway: Gateway, method: str, path: str, body: Any = None, key: str = MARKETING) -> Reply:
    return gateway.call(method, f"/v1/templates{path}", body, key=key)


def put(gateway: Gateway, place: str, texts: Any, key: str = MARKETING, **more: Any) -> Reply:
    return call(gateway, "PUT", f"/{place}", {"texts": texts, **more}, key)


@pytest.mark.parametrize("key", ["key-shop", "key-p0", "key-ops", "key-support"])
@pytest.mark.parametrize(("method", "path"), CALLS)
def test_writers_of_texts_are_marketing_and_administrators(told: Gateway, key: str, method: str, path: str) -> None:
    refused = call(told, method, path, key=key)
    assert refused.status == 403
    assert "admin or marketing" in refused.json["detail"]


def test_urgent_texts_are_an_administrators(told: Gateway) -> None:
    refused = put(told, "otp/pt", CODE)
    assert (refused.status, refused.json["detail"]) == (403, "texts of class P0 are for keys of role admin")
    assert put(told, "otp/pt", CODE, ADMIN).status == 202
    assert call(told, "DELETE", "/otp/pt").status == 403
    assert call(told, "POST", "/otp/pt/rollback", {"version": 1}).status == 403
    shown = call(told, "POST", "/otp/pt/preview", {"texts": CODE})
    assert shown.json["channels"]["sms"]["text"] == "code é seu código"


def decide(gateway: Gateway, asked: Reply, key: str = "key-ops") -> Reply:
    return gateway.call("POST", f"/v1/approvals/{asked.json['id']}", {"decision": "confirm"}, key=key)


def test_urgent_texts_hold_when_a_second_person_confirmed_them_and_each_version_once(told: Gateway) -> None:
    place, other = "otp/ca", {**CODE, "title": "Codi"}

    def held() -> Any:
        found = call(told, "GET", f"/{place}").json
        return found.get("version"), found.get("texts")

    first = put(told, place, CODE, ADMIN, version=0, reason="new")
    assert (first.status, first.json["state"], first.json["after"]) == (202, "proposed", {"texts": CODE})
    assert put(told, place, CODE, ADMIN).json["id"] == first.json["id"], "the same is asked for once"
    second = put(told, place, other, ADMIN)
    assert held() == (None, None)
    assert decide(told, first, ADMIN).status == 403, "never the same person"
    assert decide(told, first).json["done"] is True
    assert held() == (1, CODE)
    late = decide(told, second)
    assert (late.status, late.json["state"], late.json["done"]) == (200, "confirmed", False)
    assert held() == (1, CODE), "what was overtaken changes nothing"
    assert put(told, place, other, ADMIN, version=0).status == 409
    decide(told, put(told, place, other, ADMIN, version=1))
    back = call(told, "POST", f"/{place}/rollback", {"version": 1}, ADMIN)
    assert (back.status, held()) == (202, (2, other))
    decide(told, back)
    gone = call(told, "DELETE", f"/{place}", key=ADMIN)
    assert (gone.status, held()) == (202, (3, CODE))
    decide(told, gone)
    assert call(told, "GET", f"/{place}").status == 404
    versions = call(told, "GET", f"/{place}/versions").json["versions"]
    assert [(each["version"], each["by"], each["texts"]) for each in versions] == [
        (4, "admin", None), (3, "admin", CODE), (2, "admin", other), (1, "admin", CODE),
    ]  # fmt: skip


def test_texts_are_published_changed_taken_back_and_rolled_back(told: Gateway) -> None:
    assert call(told, "GET", "/like/pt").status == 404
    assert call(told, "GET", "/like/pt/versions").status == 404
    assert call(told, "DELETE", "/like/pt").status == 404
    first = put(told, "like/pt", LIKE, version=0, reason="Brazil")
    assert first.json == {
        "type": "like", "locale": "pt", "version": 1, "by": "marketing", "reason": "Brazil", "texts": LIKE,
    }  # fmt: skip
    changed = {**LIKE, "title": "Gostou"}
    assert put(told, "like/pt", changed, version=0).status == 409, "what he has not seen"
    assert put(told, "like/pt", changed, ADMIN, version=1).json["version"] == 2
    assert call(told, "GET", "/like/pt").json["texts"] == changed
    assert call(told, "DELETE", "/like/pt?reason=wrong").status == 204
    assert call(told, "GET", "/like/pt").status == 404
    (shown,) = (each for each in call(told, "GET", "").json["templates"] if each["type"] == "like")
    assert (shown["version"], shown["texts"]) == (3, None)
    assert call(told, "POST", "/like/pt/rollback", {"version": 3}).status == 404, "it had no texts"
    assert call(told, "POST", "/like/pt/rollback", {"version": 9}).status == 404
    back = call(told, "POST", "/like/pt/rollback", {"version": 1}).json
    assert (back["version"], back["texts"], back["reason"]) == (4, LIKE, "back to version 1")
    versions = call(told, "GET", "/like/pt/versions").json["versions"]
    assert [(each["version"], each["by"], each["texts"]) for each in versions] == [
        (4, "marketing", LIKE), (3, "marketing", None), (2, "admin", changed), (1, "marketing", LIKE),
    ]  # fmt: skip
    acts = [each for each in told.values("audit") if each["about"].get("type") == "like"]
    assert [(each["act"], each["role"], each.get("reason")) for each in acts] == [
        ("template", "marketing", "Brazil"), ("template", "admin", None), ("template", "marketing", "wrong"),
        ("template", "marketing", "back to version 1"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("place", "texts", "path"),
    [
        ("like/pt", {"title": "T"}, "texts.one"),
        ("like/pt", {**LIKE, "two": "x"}, "texts.two"),
        ("like/pt", {**LIKE, "title": "x" * 66}, "texts.title"),
        ("like/PT!", LIKE, "locale"),
        ("lik/pt", LIKE, "type"),
        ("like/pt", {"title": 1}, "texts"),
        ("offer/pt", {**LIKE, "detail": "{{ p.prize }}"}, "texts.detail"),
        ("like/pt", {**LIKE, "_variants": "a 50"}, "texts._variants"),
        ("like/pt", {**LIKE, "_variants": "a 100", "a:push.one": "{{ x }}"}, "texts.a:push.one"),
    ],
)
def test_a_fault_is_told_and_nothing_is_published(told: Gateway, place: str, texts: Any, path: str) -> None:
    before = len(told.values("audit"))
    reply = put(told, place, texts)
    assert (reply.status, reply.paths) == (400, {path})
    assert all(error["problem"] and error["remedy"] for error in reply.json["errors"])
    assert len(told.values("audit")) == before


def test_a_preview_shows_every_channel_and_changes_nothing(told: Gateway) -> None:
    before = len(told.values("audit"))
    texts = {"title": "Oferta", "one": "{{ actor }}: {{ p.price }}", "many": "{{ who }}: {{ p.price }}"}
    shown = call(told, "POST", "/offer/pt/preview", {"texts": texts}).json["channels"]
    assert shown.keys() == {"push", "sms", "email", "webhook", "chat", "in_app"}
    assert (shown["push"]["title"], shown["push"]["body"]) == ("Oferta", "Ada: 3 €")
    assert shown["sms"] == {"text": "Ada: 3 €", "parts": 1, "cost": {"+49": 0.07, "other": 0.1}}
    assert "Ada: 3 €" in shown["email"]["html"]
    given = {"payload": {"price": "<b>"}, "actors": ["Bo", "Cy"], "actor_count": 5, "name": "Eve", "texts": texts}
    of_many = call(told, "POST", "/offer/de/preview", given).json["channels"]
    assert of_many["in_app"]["body"] == "Bo und 4 weitere: <b>"
    assert "&lt;b&gt;" in of_many["email"]["html"]
    halves = {**texts, "_variants": "a 50, b 50", "b:title": "Oba"}
    by_variant = call(told, "POST", "/offer/pt/preview", {"texts": halves}).json["variants"]
    assert {name: found["push"]["title"] for name, found in by_variant.items()} == {"a": "Oferta", "b": "Oba"}
    built_in = call(told, "POST", "/follow/de/preview", {}).json
    assert built_in["variants"] == {}
    assert built_in["channels"]["push"]["body"] == "Ada folgt dir"
    assert built_in["texts"]["one"] == "{{ actor }} folgt dir"
    broken = call(told, "POST", "/offer/pt/preview", {"texts": {"title": "T", "one": "{{ actor"}})
    assert (broken.status, broken.paths) == (400, {"texts.one"})
    unfinished = call(told, "POST", "/offer/pt/preview", {"texts": {"title": "T"}})
    assert (unfinished.status, unfinished.paths) == (400, {"texts.one"})
    assert call(told, "POST", "/_parts/pt/preview", {}).status == 400
    assert len(told.values("audit")) == before


def test_parts_are_shared_and_a_change_that_breaks_a_text_is_refused(told: Gateway) -> None:
    parts = {"others": "{{ actor }} e outras {{ others }}", "help": "Ajuda: {{ actor }}"}
    assert put(told, "_parts/es", {**parts, "Bad name": "x"}).paths == {"texts.Bad name"}
    assert put(told, "_parts/es", parts).status == 200
    texts = {**LIKE, "email.html": '<h1>{{ text }}</h1>{% include "help" %}'}
    assert put(told, "like/es", texts).status == 200
    shown = call(told, "POST", "/like/es/preview", {"actors": ["Bo"], "actor_count": 3}).json["channels"]
    assert shown["push"]["body"] == "Bo e outras 2 curtiram."
    assert "<h1>Bo e outras 2 curtiram.</h1>Ajuda: Bo" in shown["email"]["html"]
    assert put(told, "_parts/es", {**parts, "help": "{{ p.nothing"}).status == 400
    assert put(told, "_parts/es", {"others": parts["others"]}).status == 400, "a text has the other part"


def test_texts_are_sent_to_one_user_before_they_are_published(told: Gateway) -> None:
    draft = {"title": "Me gusta", "one": "{{ actor }}: {{ p.object_label }}"}
    body = {"texts": draft, "user": "eve", "channel": "push"}
    sent = call(told, "POST", "/like/gl/test", body)
    assert sent.status == 200
    (act,) = [each for each in told.values("campaigns") if each.get("campaign") == "_texts" and "verb" in each]
    found = act["text"]["draft"]
    assert (found["channel"], found["locale"]) == ("push", "gl")
    assert found["texts"].items() >= draft.items()
    assert (act["text"]["payload"], act["text"]["actor"]) == ({"object_label": "object_label"}, "Ada")
    assert call(told, "GET", "/like/gl").status == 404, "nothing is published"
    (noted,) = [each for each in told.values("audit") if each["act"] == "template_test"]
    assert noted["about"] == {"type": "like", "locale": "gl", "channel": "push", "event_id": sent.json["event_id"]}
    for wrong in (
        {**body, "channel": "sms"}, {**body, "channel": "in_app"}, {**body, "user": ""},
        {**body, "texts": {"one": "x"}}, {**body, "payload": {}},
    ):  # fmt: skip
        assert call(told, "POST", "/like/gl/test", wrong).status == 400, wrong
    assert call(told, "POST", "/_parts/gl/test", body).status == 400
    urgent = {**body, "texts": CODE, "channel": "sms"}
    assert call(told, "POST", "/otp/gl/test", urgent).status == 403
    two = {"title": "T", "one": "all", "_variants": "a 1, b 99", "a:one": "first", "b:one": "second"}
    assert call(told, "POST", "/like/gl/test", {**body, "texts": two, "variant": "c"}).status == 400
    for given, says in (({"variant": "a"}, "first"), ({"user": "u1"}, "second")):
        sent = call(told, "POST", "/like/gl/test", {**body, "texts": two, **given})
        assert sent.status == 200
        *_, act = [each for each in told.values("campaigns") if "verb" in each]
        assert act["text"]["draft"]["texts"]["one"] == says


def test_urgent_texts_go_to_a_user_once_when_a_second_person_confirmed_it(told: Gateway) -> None:
    def tests() -> list[Any]:
        acts = [each for each in told.values("campaigns") if each.get("verb") == "test"]
        return [each["text"]["draft"]["texts"]["title"] for each in acts if each["text"]["type"] == "otp"]

    body = {"texts": {**CODE, "title": "Tried"}, "user": "eve", "channel": "sms"}
    asked = call(told, "POST", "/otp/gl/test", body, ADMIN)
    assert (asked.status, asked.json["state"], asked.json["about"]["user"]) == (202, "proposed", "eve")
    assert asked.json["after"]["texts"]["title"] == "Tried", "the other person sees what it says"
    assert decide(told, asked, ADMIN).status == 403, "never the same person"
    assert tests() == []
    done = decide(told, asked)
    assert (done.json["state"], done.json["done"]) == ("confirmed", True)
    assert decide(told, asked).status == 409
    assert tests() == ["Tried"]
    *_, noted = [each for each in told.values("audit") if each["act"] == "template_test"]
    assert (noted["by"], noted["about"]["approval"]) == ("admin", asked.json["id"])
    assert noted["after"]["event_id"] == f"_texts.{asked.json['id']}.0", "by the proposal, not by its moment"


def test_a_test_takes_no_version_off_the_list(told: Gateway) -> None:
    assert put(told, "comment/eu", LIKE).status == 200
    assert call(told, "POST", "/comment/eu/test", {"texts": LIKE, "user": "eve", "channel": "push"}).status == 200
    assert [each["version"] for each in call(told, "GET", "/comment/eu/versions").json["versions"]] == [1]
