"""An unlike takes a like off the screens of three platforms, through the whole system (RULES 3.F)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from helpers.up import Up, running
from helpers.waiting import wait_for

from connectors.sandbox.options import browser_address

PROVIDERS = ("apns", "fcm", "webpush")


def _like(system: Up, event_id: str, actor: str, **changes: Any) -> None:
    like = {"event_id": event_id, "type": "like", "actor": actor, "target": "ann", "object": "photo"}
    system.post({**like, **changes})


def _register(system: Up, device: str, platform: str, address: Any) -> None:
    body = {"platform": platform, "address": address}
    status, answer = system.call("PUT", f"/v1/users/ann/endpoints/push/{device}", body)
    assert status in (200, 201, 202), answer


def test_an_unlike_takes_its_push_off_every_screen(tmp_path: Path) -> None:
    with running(tmp_path) as system:

        def came(withdraws: int) -> bool:
            """One message that shows, and so many that withdraw, on each platform."""
            found = [system.provider(name) for name in PROVIDERS]
            each = [[entry.get("withdraws", False) for entry in entries if entry["status"] < 300] for entries in found]
            return each == [[False] + [True] * withdraws] * 3

        _register(system, "phone", "ios", "a" * 64)
        _register(system, "droid", "android", "f:" + "A" * 60)
        _register(system, "laptop", "web", json.loads(browser_address(tmp_path / "sandbox", "laptop")))
        _like(system, "e1", "bob")
        wait_for(lambda: came(0), what=lambda: str([system.provider(name) for name in PROVIDERS]))
        for name in ("deliver", "decide"):  # what is shown outlives a process
            system.kill(name)
        _like(system, "other", "eve", retracts=True)  # who liked nothing takes nothing away
        _like(system, "r1", "bob", retracts=True)
        wait_for(lambda: came(1), what=lambda: str([system.provider(name) for name in PROVIDERS]))

        def explained() -> str:
            done = system.carillon("explain", "--event", "e1", "--user", "ann")
            assert done.returncode == 0, done.stderr
            return done.stdout

        said = "took the message that removes it from the screen"
        wait_for(lambda: explained().count(said) == 3, what=explained)
        wait_for(lambda: system.carillon("ledger", "--check").returncode == 0, 120, "the three laws")
        deliveries = [line for line in system.ledger() if line["kind"] == "delivery"]
        assert sorted(line["device"] for line in deliveries) == ["droid", "laptop", "phone"]
        assert came(1)
        assert system.stop() == 0
