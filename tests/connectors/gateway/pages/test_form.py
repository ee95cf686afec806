"""The law of the form: what a person leaves stays as it is, and what he changes is what the page then shows."""

from __future__ import annotations

import random
from typing import Any
from urllib.parse import urlencode

import pytest
from helpers.forms import Page
from helpers.gateway import Reply

from connectors.gateway.pages.choices import Choices, offered_types
from connectors.gateway.pages.form import SentForm, wish
from connectors.gateway.pages.html import page_response
from connectors.gateway.pages.words import words_of
from connectors.gateway.preferences import merge_patch
from operators.admit import Rules
from state.model.channels import CHANNELS
from state.model.documents import PreferenceDocument
from state.model.registry import load_registry

RULES = Rules(
    load_registry(
        {
            "order": {"category": "orders", "channels": ["sms", "webhook", "email"]},
            "alarm": {"klass": "P0", "category": "orders", "channels": ["sms", "push"]},
            "terms": {"category": "service", "mandatory": True},
            "a b,c:d": {"channels": ["email"]},
        }
    )
)
TYPES = [*(name for name in RULES.type_names() if "*" not in name), "campaign_x", "unknown type"]
CATEGORIES = [*sorted(RULES.types.current.categories()), "unknown"]


def any_document(rng: random.Random) -> dict[str, Any]:
    def some(of: Any) -> list[Any]:
        return rng.sample(of, rng.randrange(len(of)))

    def setting() -> dict[str, Any]:
        parts: list[dict[str, Any]] = [{}, {"enabled": rng.random() < 0.5}, {"channels": some(CHANNELS)}]
        return rng.choice(parts) | rng.choice(parts)

    quiet = {"enabled": rng.random() < 0.5, "start": "00:00", "end": "23:59", "timezone": "Europe/Paris"}
    document: dict[str, Any] = {
        "master": rng.random() < 0.5,
        "types": {name: setting() for name in some(TYPES)},
        "unsubscribed": {channel: some(CATEGORIES) for channel in some(CHANNELS)},
        "quiet_hours": {name: quiet[name] for name in some(list(quiet))},
        "frequency_cap": {name: rng.randrange(3) for name in some(["max_per_hour", "max_per_day", "max_per_hour"])},
        "muted": {kind: some(["bob", "eve", "<&>", "ü"]) for kind in some(["actors", "objects", "actors"])},
    }
    return {name: document[name] for name in some(list(document))}


def page_of(document: dict[str, Any]) -> Page:
    view = Choices(document, RULES, words_of("en"))
    note = {"title": "", "wrong": False}
    values = {"words": words_of("en"), "view": view, "version": "", "note": note, "errors": [], "wrong": {}}
    return Page(Reply(200, {}, page_response(200, "preferences.html", {**values, "devices": []}).body))


def patch_of(page: Page, document: dict[str, Any]) -> Any:
    body = urlencode(page.fields, doseq=True).encode()
    return wish(SentForm(body), document, offered_types(RULES, document))


@pytest.mark.parametrize("seed", range(60))
def test_what_is_left_stays_and_what_is_changed_is_shown(seed: int) -> None:
    rng = random.Random(seed)
    document = any_document(rng)
    assert RULES.document_errors(document, PreferenceDocument) == []
    page = page_of(document)
    assert patch_of(page, document) == ({}, ())

    for name, value in rng.sample(sorted(page.boxes), 8):
        (page.untick if value in page.fields[name] else page.tick)(name, value)
    page.put("max_per_day", rng.choice(["", "0", "12"])).put("zone", rng.choice(["", "UTC", "Asia/Tokyo"]))
    wanted = patch_of(page, document)
    after = merge_patch(document, wanted.patch)
    assert RULES.document_errors(after, PreferenceDocument) == []
    shown = page_of(after)
    for name, values in page.fields.items():
        if name.startswith("unmute:"):
            assert not {(name, value) for value in values} & shown.boxes
        elif not (name.startswith("by:") and not page.fields[f"on:{name[3:]}"] and not values):
            assert sorted(shown.fields[name]) == sorted(values), name
    assert set(wanted.wayless) <= {
        name for name in TYPES if page.fields.get(f"on:{name}") and not page.fields[f"by:{name}"]
    }
    assert _unseen(after) == _unseen(document)


def _unseen(document: dict[str, Any]) -> Any:
    """What no page shows: types and categories of other registries, and mandatory types."""
    profiles = {profile.name: profile for profile in offered_types(RULES, {})}
    types = document.get("types") or {}
    hidden = {
        name: setting
        for name, setting in types.items()
        if name == "unknown type" or profiles.get(name, profiles["like"]).mandatory
    }
    lists = document.get("unsubscribed") or {}
    return hidden, {channel for channel, names in lists.items() if "unknown" in names}


def test_a_type_or_channel_that_the_page_did_not_show_is_left() -> None:
    document = {"types": {"like": {"channels": ["in_app", "push"]}}, "unsubscribed": {"push": ["social"]}}
    page = page_of(document)
    page.fields["type"] = ["in_app like"]
    page.fields["category"] = ["email social"]
    page.fields |= {"by:like": [], "on:mention": [], "may:social": ["email"]}
    assert patch_of(page, document).patch == {"types": {"like": {"channels": []}}}
    page.fields["by:like"] = ["push", "in_app"]
    assert patch_of(page, document).patch == {}
