"""The law of links: whatever a user's devices write, in whatever order, none brings back what a link switched off, but
for one that says so.

Judged by the topic alone: which write a record came of is told by a mark that each puts into its document.
"""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import pytest
from helpers.callers import user_call
from helpers.gateway import Gateway
from helpers.gateway_process import LINK_KEYS
from helpers.waiting import wait_for

from state.model.unsubscribe import LinkKeys, Unsubscription

KEYS = LinkKeys(LINK_KEYS)
DEVICES = 4
ROUNDS = 25


@dataclass
class Story:
    """What one user's devices and links did."""

    gateway: Gateway
    user: str = field(default_factory=lambda: uuid4().hex)
    lifting: set[str] = field(default_factory=set)
    """Marks of writes that say by themselves what is unsubscribed from mail."""
    clicked: set[str] = field(default_factory=set)
    """Categories, each of one link."""

    def act(self, seed: int) -> None:
        rng = random.Random(f"{self.user} {seed}")
        for _ in range(ROUNDS):
            rng.choice([self.click, self.put, self.put, self.patch, self.lift, self.put_again])(rng)

    def click(self, _rng: random.Random) -> None:
        category = f"c{uuid4().hex}"
        path = "/v1/unsubscribe/" + KEYS.sign(Unsubscription(self.user, "email", (category,), 1))
        form = {"content-type": "application/x-www-form-urlencoded"}

        def taken() -> bool:
            return self.gateway.call("POST", path, b"List-Unsubscribe=One-Click", key=None, headers=form).status == 200

        wait_for(taken)  # a user may click a few times a second
        self.clicked.add(category)

    def put(self, rng: random.Random) -> None:
        self._write(
            "PUT", {"unsubscribed": rng.choice([None, {}, {"email": []}, {"email": ["social"], "push": ["x"]}])}
        )

    def patch(self, rng: random.Random) -> None:
        self._write("PATCH", rng.choice([{"master": False}, {"unsubscribed": {"push": ["x"]}}, {"quiet_hours": None}]))

    def lift(self, rng: random.Random) -> None:
        self._write("PATCH", {"unsubscribed": rng.choice([None, {"email": []}, {"email": ["social"]}])}, lifts=True)

    def put_again(self, rng: random.Random) -> None:
        """A device stores what it read, with or without saying which version that was."""
        read = user_call(self.gateway, "GET", "/v1/preferences", user=self.user)
        if rng.random() < 0.5:
            return self._write("PUT", {**read.json, "master": True})
        lists = {**(read.json.get("unsubscribed") or {}), "email": []}
        return self._write("PUT", {"unsubscribed": lists}, lifts=True, if_match=read.headers["etag"])

    def _write(self, method: str, body: dict[str, Any], *, lifts: bool = False, **headers: str) -> None:
        mark = uuid4().hex
        if lifts:
            self.lifting.add(mark)
        document = {**body, "muted": {"objects": [mark]}}
        reply = user_call(self.gateway, method, "/v1/preferences", document, user=self.user, **headers)
        assert reply.status in (200, 412)

    def written(self) -> list[tuple[set[str], str | None]]:
        """Each version in the order of the log: what is off for mail, and the mark of who wrote it."""
        records = [each for each in self.gateway.values("preferences") if each["user"] == self.user]
        found, last = [], None
        for document in (record["doc"] for record in records):
            mark = document.get("muted", {}).get("objects", [None])[0]
            off = set((document.get("unsubscribed") or {}).get("email") or ())
            found.append((off, None if mark == last else mark))
            last = mark
        return found


@pytest.mark.parametrize("seed", range(4))
def test_what_a_link_switched_off_comes_back_only_by_a_write_that_says_so(gateway: Gateway, seed: int) -> None:
    story = Story(gateway)
    with ThreadPoolExecutor(DEVICES) as pool:
        list(pool.map(story.act, range(DEVICES * seed, DEVICES * (seed + 1))))
    versions = story.written()
    off: set[str] = set()
    seen: set[str] = set()
    for names, mark in versions:
        if mark in story.lifting:
            off &= names
        assert off <= names, "a write that does not say so brought back what a link switched off"
        off |= (names & story.clicked) - seen
        seen |= off
    assert seen == story.clicked
    assert story.clicked
    present = user_call(gateway, "GET", "/v1/preferences", user=story.user).json
    assert set((present.get("unsubscribed") or {}).get("email") or ()) == versions[-1][0]
