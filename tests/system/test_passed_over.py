"""APNs goes away in a running system, and comes back: reminders go by mail meanwhile (RULES 3.E)."""

import json
import time
from itertools import count
from pathlib import Path
from typing import Any

from helpers.steering import steering_of
from helpers.up import Up, running
from helpers.waiting import wait_for

from operators.breaker import CALLS_MIN

PHONES = 2 * CALLS_MIN


def register(up: Up, user: str, channel: str, **address: str) -> None:
    status, answer = up.call("PUT", f"/v1/users/{user}/endpoints/{channel}/d", address)
    assert status == 200, answer


def remind(up: Up, user: str, number: int) -> None:
    event = {"event_id": f"{user}-{number}", "type": "reminder", "actor": user, "target": user, "object": f"o{number}"}
    assert up.post({**event, "payload": {"text": "tea"}}) == 202


def decision(up: Up, user: str, number: int) -> dict[str, Any] | None:
    found = up.carillon("ledger", "--json", "--event", f"{user}-{number}", "--user", user).stdout.splitlines()
    records = [json.loads(line) for line in found]
    return next((each for each in records if each["kind"] == "decision"), None)


def fell_back(up: Up) -> int:
    """How many of those who were reminded first have the mail."""
    return len({name for each in up.provider("smtp") if "first" in (name := str(each.get("to")))})


class Reminded:
    """New people, one after the other, each with a phone and a mailbox, and how the reminder of each went out."""

    def __init__(self, up: Up) -> None:
        self._up, self._numbers = up, count()

    def next(self) -> dict[str, Any]:
        number = next(self._numbers)
        user = f"both{number}"
        register(self._up, user, "push", platform="ios", address=f"{1000 + number:064x}")
        register(self._up, user, "email", address=f"both{number}@example.com")
        remind(self._up, user, 0)
        found: list[dict[str, Any]] = []

        def has_come() -> bool:
            found.extend(each for each in [decision(self._up, user, 0)] if each is not None)
            return bool(found)

        wait_for(has_come, what=f"the reminder of {user}")
        return found[0]

    def until(self, channel: str) -> dict[str, Any]:
        found: list[dict[str, Any]] = []

        def so_it_goes() -> bool:
            found.append(self.next())
            return bool(found[-1]["channels"] == [channel])

        wait_for(so_it_goes, 180, what=f"a reminder by {channel}")
        return found[-1]


def test_reminders_go_by_mail_while_apns_is_away_and_as_pushes_again(tmp_path: Path) -> None:
    with running(tmp_path) as up:
        people, steering = Reminded(up), steering_of(tmp_path)
        assert people.next()["channels"] == ["push"]
        for number in range(PHONES):
            register(up, f"first{number}", "push", platform="ios", address=f"{5000 + number:064x}")
            register(up, f"first{number}", "email", address=f"first{number}@example.com")
        steering.put("apns", "503")
        for number in range(PHONES):
            remind(up, f"first{number}", 0)
        passed = people.until("email")
        assert (passed["outcome"], passed["reason"]) == ("EMITTED", "passed_over push")
        user, event = passed["user"], passed["event_id"]
        wait_for(lambda: any(user in json.dumps(each) for each in up.provider("smtp")), what="the mail")
        told = up.carillon("explain", "--event", event, "--user", user).stdout
        assert "and not to push" in told
        wait_for(lambda: fell_back(up) == PHONES, 180, "the first ones' mails: nothing waits for APNs, to be its probe")
        steering.lift(provider="apns")
        lifted = time.monotonic()
        assert people.until("push")["reason"] is None
        assert time.monotonic() - lifted < 120
        assert up.stop() == 0
        assert up.carillon("ledger", "--check").returncode == 0
