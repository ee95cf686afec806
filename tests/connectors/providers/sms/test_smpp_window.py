"""A window that an SMSC makes narrower, and that widens again."""

from __future__ import annotations

import asyncio

from connectors.providers.sms import smpp_window
from connectors.providers.sms.smpp_window import SmscWindow


def test_no_more_are_outstanding_than_the_window_holds_and_who_waits_goes_when_one_leaves() -> None:
    async def run() -> None:
        window = SmscWindow(2)
        await window.enter()
        await window.enter()
        waiting = [asyncio.create_task(window.enter()) for _ in range(2)]
        await asyncio.sleep(0)
        assert (window.outstanding, [each.done() for each in waiting]) == (2, [False, False])
        window.leave(taken=True)
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        assert (window.outstanding, sum(each.done() for each in waiting)) == (2, 1)
        window.leave(taken=True)
        await asyncio.gather(*waiting)

    asyncio.run(run())


def test_throttling_halves_it_and_answers_widen_it_up_to_its_width() -> None:
    async def run() -> tuple[list[int], float]:
        window, limits = SmscWindow(8), []
        for _ in range(4):
            await asyncio.wait_for(_pass(window, throttled=True), 10)
            limits.append(window.limit)
        began = asyncio.get_running_loop().time()
        await window.enter()
        paused = asyncio.get_running_loop().time() - began
        window.leave(taken=True)
        for _ in range(100):
            await _pass(window, taken=True)
        return [*limits, window.limit], paused

    limits, paused = asyncio.run(run())
    assert limits == [4, 2, 1, 1, 8]
    assert paused > smpp_window.PAUSE_S * 0.9


async def _pass(window: SmscWindow, **said: bool) -> None:
    await window.enter()
    window.leave(**said)


def test_who_gives_up_waiting_takes_no_place() -> None:
    async def run() -> int:
        window = SmscWindow(1)
        await window.enter()
        waiting = asyncio.create_task(window.enter())
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        window.leave()
        await window.enter()
        return window.outstanding

    assert asyncio.run(run()) == 1
