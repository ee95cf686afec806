"""One user's changes are as many in a second as he may make, and nobody else's are counted with them."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.gateway import running, token

from connectors.gateway.problems import ProblemError
from connectors.gateway.user_limit import UserLimit


def granted(limit: UserLimit, user: str, count: int) -> int:
    taken = 0
    for _ in range(count):
        try:
            limit.take(user)
            taken += 1
        except ProblemError as problem:
            taken += problem.status != 429
    return taken


@pytest.mark.parametrize("start", [0, 999, 1_000, 1_500, 10**12])
def test_in_no_second_more_than_the_limit_also_across_its_edge(start: int) -> None:
    now = [start]
    limit = UserLimit(5, clock=lambda: now[0])
    assert granted(limit, "anne", 9) == 5
    for step, more in ((900, 0), (99, 0), (1, 5), (999, 0), (1, 5), (5_000, 5), (-60_000, 5), (61_001, 5)):
        now[0] += step
        assert (step, granted(limit, "anne", 9)) == (step, more)
        assert granted(limit, f"another at {now[0]}", 9) == 5


def test_a_clock_that_is_set_back_keeps_nobody_waiting() -> None:
    """An hour: a change every second went on to be refused until the clock was there again."""
    now = [10**9]
    limit = UserLimit(5, clock=lambda: now[0])
    assert granted(limit, "anne", 3) == 3
    now[0] -= 3_600_000
    for _ in range(20):
        assert granted(limit, "anne", 1) == 1
        now[0] += 1_000


def test_who_was_silent_is_forgotten() -> None:
    now = [10_000]
    limit = UserLimit(5, clock=lambda: now[0])
    for number in range(5_000):
        now[0] += 1
        limit.take(f"u{number}")
    assert len(limit._windows) + len(limit._before) <= 2_100


def test_a_script_with_a_session_is_told_to_wait_and_looks_on(tmp_path: Path) -> None:
    with running(tmp_path, user_writes_per_s=3) as gateway:
        patch = {"content-type": "application/merge-patch+json"}
        replies = [
            gateway.call("PATCH", "/v1/preferences", {"master": True}, key=token("anne"), headers=patch)
            for _ in range(30)
        ]
        refused = [reply for reply in replies if reply.status == 429]
        assert refused, "all of them were stored"
        assert all(int(reply.headers["retry-after"]) >= 1 for reply in refused)
        assert len(gateway.records("preferences")) == len(replies) - len(refused)
        for path in ("/v1/notifications/inbox/read", "/v1/devices/register", "/v1/preferences/link"):
            assert 429 in {gateway.call("POST", path, {}, key=token("anne")).status for _ in range(5)}, path
        for _ in range(10):
            assert gateway.get("/v1/preferences", key=token("anne")).status == 200
        assert gateway.call("PUT", "/v1/preferences", {}, key=token("bob")).status == 200
