"""The page of types: each key is explained, and what was typed stays where it is refused."""

import re
from html import unescape
from typing import Any

import msgspec
import pytest
from helpers.console import Browser, signed_in
from helpers.gateway import Gateway

from connectors.console.type_form import form_of_type, table_of_form
from connectors.console.types import MEANS
from state.model.registry import TypeProfile

PAGE = "/console/types"


def test_every_key_of_a_type_is_explained(told: Gateway) -> None:
    assert set(MEANS) == set(TypeProfile.__struct_fields__) - {"name", "registered"}
    words = signed_in(told, "ops").get(f"{PAGE}?name=comment").words
    assert "digest yes whether its mail waits for the daily one" in words
    assert "owners none senders that may send it" in words


def test_what_a_type_says_is_a_link_for_those_who_may_look(told: Gateway) -> None:
    link = "/console/templates?type=comment&amp;locale=default"
    assert link in signed_in(told, "marketing").get(f"{PAGE}?name=comment").text
    assert link not in signed_in(told, "ops").get(f"{PAGE}?name=comment").text


@pytest.mark.parametrize(
    ("table", "says"), [("{", "must be a JSON object"), ('{"klass": "P9"}', "klass"), ('{"colour": 1}', "colour")]
)
@pytest.mark.parametrize("act", ["publish JSON", "try JSON"])
def test_a_table_that_is_refused_stays_as_it_was_typed(told: Gateway, act: str, table: str, says: str) -> None:
    form = {"name": "comment", "act": act, "version": "0", "table": table, "reason": "louder"}
    seen = signed_in(told, "ops").submit(f"{PAGE}?name=comment", PAGE, form)
    assert seen.status == 400
    assert says in seen.words
    assert "Nothing was published" in seen.words
    assert table in seen.words, "what was typed"
    assert 'value="louder"' in seen.text


def filled(browser: Browser, name: str, **changed: str) -> dict[str, str]:
    """What a browser sends of the page's form, with what a person changed in it; `no` unchecks."""
    page = browser.get(f"{PAGE}?name={name}").text
    form = dict(
        re.findall(r'<input (?:id="\w+" |type="hidden" )name="(\w+)"(?: maxlength="\d+")? value="([^"]*)"', page)
    )
    form |= dict.fromkeys(re.findall(r'type="checkbox" name="([\w.]+)" value="yes" checked', page), "yes")
    form |= dict(re.findall(r'<select id="\w+" name="(\w+)".*?<option selected>(\w+)</option>', page))
    areas = re.findall(r'<textarea id="\w+" name="(\w+)"[^>]*>\n([^<]*)</textarea>', page)
    form |= {name: unescape(text) for name, text in areas}
    return {key: value for key, value in (form | changed).items() if value != "no"}


def table_of(gateway: Gateway, name: str) -> dict[str, Any] | None:
    found: dict[str, Any] | None = gateway.get(f"/v1/types/{name}", key="key-ops").json["published"]
    return found


def test_a_field_that_is_changed_is_the_only_key_of_the_table(told: Gateway) -> None:
    ops = signed_in(told, "ops")
    form = filled(
        ops, "reply", ttl_ms="90 min", digest="no", names="pt: Respostas\r\nen: Replies", reason="as people say"
    )
    assert form["window_ms"], "the page has what is in force"
    assert ops.submit(f"{PAGE}?name=reply", PAGE, form | {"act": "publish"}).status == 303
    names = {"pt": "Respostas", "en": "Replies"}
    assert table_of(told, "reply") == {"ttl_ms": 5_400_000, "digest": False, "names": names}
    page = ops.get(f"{PAGE}?name=reply").text
    assert 'value="90 min"' in page
    assert "Respostas" in page
    form = filled(ops, "reply", ttl_ms="2 h", reason="longer")
    assert ops.submit(f"{PAGE}?name=reply", PAGE, form | {"act": "publish"}).status == 303
    assert table_of(told, "reply") == {"ttl_ms": 7_200_000, "digest": False, "names": names}, "the others stay"


@pytest.mark.parametrize(
    ("field", "typed", "says"),
    [
        ("ttl_ms", "soon", "is no time"), ("names", "Respostas", "without a language"),
        ("channels", "pigeon", "pigeon"), ("schema", "{", "no JSON Schema"), ("policy", "loud", "none of"),
        ("mail_wait_ms", "1 h", "without digest"),
        ("ttl_ms", "9000 d", "longer than the log keeps"),
    ],
)  # fmt: skip
def test_a_field_that_is_refused_is_named_and_keeps_what_was_typed(
    told: Gateway, field: str, typed: str, says: str
) -> None:
    ops = signed_in(told, "ops")
    form = filled(ops, "share", category="odd", reason="a try", **{field: typed})
    seen = ops.submit(f"{PAGE}?name=share", PAGE, form | {"act": "publish"})
    assert seen.status == 400
    wrong = re.search(rf'id="wrong-{field}">([^<]*)<', seen.text)
    assert wrong is not None
    assert says in unescape(wrong[1])
    assert field == "policy" or typed in unescape(seen.text)
    assert 'value="odd"' in seen.text
    assert 'value="a try"' in seen.text
    assert table_of(told, "share") is None


def test_who_gives_no_reason_keeps_what_he_typed(told: Gateway) -> None:
    ops = signed_in(told, "ops")
    seen = ops.submit(f"{PAGE}?name=share", PAGE, filled(ops, "share", category="odd") | {"act": "publish"})
    assert (seen.status, 'value="odd"' in seen.text, 'id="wrong-reason"' in seen.text) == (400, True, True)


@pytest.mark.parametrize(("ms", "shown"), [(0, "0 s"), (1, "1 ms"), (90_000, "90 s"), (86_400_000, "1 d")])
def test_times_are_shown_as_people_write_them(ms: int, shown: str) -> None:
    profile = msgspec.to_builtins(TypeProfile(ttl_ms=ms))
    form = form_of_type(profile)
    assert form["ttl_ms"] == shown
    assert table_of_form(form, profile, {}) == {}, "nothing was changed"


def test_a_schema_is_the_same_however_it_is_written() -> None:
    schema = '{"type":"object","properties":{"n":{"type":"integer"}}}'
    profile = msgspec.to_builtins(TypeProfile(schema=schema))
    form = form_of_type(profile)
    assert "\n" in form["schema"]
    assert table_of_form(form, profile, {"schema": schema}) == {"schema": schema}
    assert table_of_form({**form, "schema": " "}, profile, {"schema": schema}) == {"schema": ""}
    left_out = {name: value for name, value in form.items() if name != "schema"}
    assert table_of_form(left_out, profile, {"schema": schema}) == {"schema": schema}, (
        "whoever writes no field changes none"
    )
