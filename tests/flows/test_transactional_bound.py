"""While a provider is away, open decisions of P0 are bounded: a full lane is not read on, and nothing is lost."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from helpers.feeding import System, kill, token
from helpers.places import ROOT, TESTS
from helpers.sandbox_process import Sandbox
from helpers.small_transactional_flow import OPEN_MAX
from helpers.waiting import wait_for

MODULE = "helpers.small_transactional_flow"
SLOW, QUICK = "slow6000-full".ljust(40, "0"), "slow1-quick".ljust(40, "0")
"""Each asks for itself, whatever is asked of their provider."""
SLOW_USER, OTHER_USER = "u3", "u0"
"""One of each partition."""


@pytest.fixture(autouse=True)
def _tests_are_importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}:{TESTS}")


def fill(system: System, number: int) -> None:
    """One by one until the lane is full, since what one batch brings may be above the bound; then the rest."""
    system.feed([system.endpoint(OTHER_USER, "push", "d1", QUICK), system.p0(OTHER_USER)])
    for count in range(1, OPEN_MAX + 1):
        system.feed([system.p0(SLOW_USER)])
        wait_for(lambda count=count: decided(system)[SLOW_USER] == count)
    system.feed([system.p0(SLOW_USER) for _ in range(number - OPEN_MAX)])


def decided(system: System) -> Counter[str]:
    return Counter(user for _, user in system.decisions())


def test_a_full_lane_is_not_read_on_and_the_others_are(system: System, sandbox: Sandbox) -> None:
    """What hangs is sent again under its name, and hangs again until the provider is itself."""
    phone = token("hangs")
    system.feed([system.endpoint(SLOW_USER, "push", "d1", phone)])
    with system.flow("transactional", MODULE):
        sandbox.steering().put("apns", "hang")
        try:
            fill(system, 15)
            system.feed([system.p0(OTHER_USER)])
            wait_for(lambda: len(sandbox.to("apns", QUICK)) == 2)
            assert decided(system)[SLOW_USER] == OPEN_MAX, "a full lane is read on, or was never full"
        finally:
            sandbox.steering().lift()
        wait_for(lambda: len(system.deliveries()) == 17)
    assert {record["outcome"] for record in system.deliveries().values()} == {"DELIVERED"}
    assert decided(system) == {SLOW_USER: 15, OTHER_USER: 2}
    assert len({entry["id"] for entry in sandbox.to("apns", phone)}) == 15


def test_a_restart_resumes_a_full_lane_and_reads_on_when_there_is_room(system: System, sandbox: Sandbox) -> None:
    system.feed([system.endpoint(SLOW_USER, "push", "d1", SLOW)])
    process = system.start("transactional", MODULE)
    fill(system, 12)
    kill(process)
    with system.flow("transactional", MODULE):
        wait_for(lambda: len(system.deliveries()) == 13)
    ids = [json.loads(record.value)["event_id"] for record in system.read("events.p0")]
    assert sorted(event for event, _ in system.decisions()) == sorted(ids)
    assert {record["outcome"] for record in system.deliveries().values()} == {"DELIVERED"}


def test_a_full_lane_holds_up_no_drain(system: System, sandbox: Sandbox) -> None:
    system.feed([system.endpoint(SLOW_USER, "push", "d1", SLOW)])
    with system.flow("transactional", MODULE) as process:
        fill(system, 12)
        wait_for(lambda: "p0_lane_full" in (system.directory / "transactional.out").read_text())
        process.terminate()
        assert process.wait(60) == 0
    assert len(system.decisions()) < 13, "it has read on first"
