"""What a person switches off on the page is not sent any more: from the form to the ledger."""

from __future__ import annotations

import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from helpers.forms import URLENCODED, Page
from helpers.gateway import Reply
from helpers.up import Up, running
from helpers.waiting import wait_for


def test_what_is_switched_off_on_the_page_is_not_sent_any_more(tmp_path: Path) -> None:
    with running(tmp_path) as system:
        phone = {"platform": "ios", "address": "ab" * 32}
        assert system.call("PUT", "/v1/users/ann/endpoints/push/phone", phone)[0] == 200
        _, made = system.call("POST", "/v1/users/ann/preferences-link", {})
        url = system.first["url"] + made["url"]
        assert "EMITTED" in _decided(system, "before", "mention")[0]

        page = _page(url).untick("on:mention").untick("may:social", "email")
        done = _page(url, page)
        assert "Switched off:\nPeople, all of this kind: E-mail\nMentions" in done.text

        assert _decided(system, "after", "mention") == ("SUPPRESSED", "type_off")
        assert _decided(system, "another", "reply")[0] == "EMITTED"
        assert _page(url, _page(url).tick("on:mention")).reply.status == 200
        assert _decided(system, "again", "mention")[0] == "EMITTED"


def _page(url: str, page: Page | None = None) -> Page:
    body = None if page is None else urlencode(page.fields, doseq=True).encode()
    with urllib.request.urlopen(urllib.request.Request(url, body, URLENCODED), timeout=30) as answer:
        return Page(Reply(answer.status, {}, answer.read()))


def _decided(system: Up, event_id: str, type_name: str) -> tuple[Any, Any]:
    system.post({"event_id": event_id, "type": type_name, "actor": "bob", "target": "ann", "object": event_id})
    found: list[tuple[Any, Any]] = []

    def decided() -> bool:
        records = [each for each in system.ledger() if each.get("event_id") == event_id and each["kind"] == "decision"]
        found.extend((each["outcome"], each["reason"]) for each in records)
        return bool(records)

    wait_for(decided, what="the decision")
    return found[-1]
