"""The page of OPERATING.md in a real browser, on another site than the gateway: its EventSource sees rows arrive."""

from __future__ import annotations

import json
import re
from pathlib import Path

from helpers.browser import started_browser
from helpers.host_site import HostSite, serving
from helpers.places import ROOT
from helpers.up import Up, running
from helpers.waiting import wait_for

SECRET = "ticket.key"


def documented() -> str:
    """The script that OPERATING.md shows."""
    found = re.search(r"```js\n(function inbox.*?)```", (ROOT / "OPERATING.md").read_text(), re.DOTALL)
    assert found is not None
    return found[1]


def page_of(system: Up, user: str) -> str:
    token = system.session(user)
    known = f"const gateway = {json.dumps(system.first['url'])}, token = {json.dumps(token)}"
    shown = "page => document.body.textContent = page.unread + ': ' + page.items.map(row => row.body).join('; ')"
    script = f"{documented()}\n{known}\ninbox(gateway, async () => token, {shown})"
    return f"<!doctype html><body></body><script>{script}</script>"


def test_a_page_sees_rows_arrive_and_goes_on_after_restarts_of_the_gateway(tmp_path: Path) -> None:
    pages: dict[str, str] = {}
    with serving(HostSite("", str, pages)) as site, started_browser() as browser:
        page = browser.new_page()
        tickets: list[str] = []
        page.on("request", lambda asked: tickets.extend(re.findall(r"ticket=(.+)", asked.url)))
        refused: list[int] = []
        page.on("response", lambda said: refused.append(said.status) if "ticket=" in said.url and not said.ok else None)
        allowed = {"CARILLON_GATEWAY__ALLOWED_ORIGINS": site.url}
        with running(tmp_path, environment=allowed) as system:
            pages["/"] = page_of(system, "ann")
            page.goto(site.url)

            def mention(number: int, actor: str) -> None:
                event = {
                    "event_id": f"e{number}",
                    "type": "mention",
                    "actor": actor,
                    "target": "ann",
                    "object": f"o{number}",
                }
                system.post(event)

            def shows(text: str) -> None:
                wait_for(lambda: page.text_content("body") == text, what=text)

            shows("0: ")
            mention(1, "bob")
            shows("1: bob mentioned you")
            system.kill("gateway")
            mention(2, "eve")
            shows("2: eve mentioned you; bob mentioned you")
            exchanged, told_to_wait = len(set(tickets)), len(refused)
            assert exchanged <= 1 + told_to_wait, (
                "EventSource came back by itself, with what it had, unless it was refused"
            )

            (tmp_path / "state" / "gateway" / SECRET).unlink()
            system.kill("gateway")
            mention(3, "max")
            shows("3: max mentioned you; eve mentioned you; bob mentioned you")
            assert len(set(tickets)) > exchanged, "its ticket was no good any more, so the page asked for another"
        logs = list((tmp_path / "run").rglob("*.log"))
        assert logs
        assert not [path for path in logs for ticket in tickets if ticket in path.read_text(errors="replace")]
