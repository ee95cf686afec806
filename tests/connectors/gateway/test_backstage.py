"""Questions to log and archive: what they need is loaded beside whoever is about to ask."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

from connectors.gateway.backstage import Questions


def test_it_is_prepared_once_and_nobody_waits_for_it() -> None:
    opened, loaded, ended = list[str](), threading.Event(), threading.Event()

    def opens() -> Any:
        opened.append(threading.current_thread().name)
        assert loaded.wait(60)
        ended.set()

    questions = Questions(opens)
    questions.prepare()
    questions.prepare()
    assert questions.is_loading
    loaded.set()
    assert ended.wait(60)
    assert len(opened) == 1
    assert opened[0] != threading.current_thread().name


def test_who_asks_while_it_is_prepared_waits_for_that_and_loads_nothing_beside_it() -> None:
    loading, loaded, opened = threading.Event(), threading.Event(), list[int]()

    def opens() -> Any:
        opened.append(1)
        loading.set()
        assert loaded.wait(60)

    async def ask() -> list[int]:
        asked = asyncio.create_task(questions.ask(lambda _backstage: list(opened)))
        assert await asyncio.to_thread(loading.wait, 10)
        await asyncio.sleep(0.05)
        assert opened == [1]
        loaded.set()
        return await asked

    questions = Questions(opens)
    questions.prepare()
    assert asyncio.run(ask()) == [1, 1]


def test_what_cannot_be_prepared_is_tried_again_by_who_asks() -> None:
    tried, began = list[int](), threading.Event()

    def opens() -> Any:
        tried.append(1)
        if len(tried) == 1:
            began.set()
            raise OSError("no log yet")
        return object()

    questions = Questions(opens)
    questions.prepare()
    assert began.wait(60)
    assert asyncio.run(questions.ask(lambda _backstage: "an answer")) == "an answer"
    assert len(tried) == 2
