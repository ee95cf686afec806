"""A flow process in which records can be poison: the only way to have code that raises, or kills, on order.

As `python -m flows.up.launch`, but a text in a record makes the code that handles it raise or end the process:

    @raise:decode@  @kill:decode@   while the record is decoded (deliver: the emission; P0: the event)
    @raise:render@  @kill:render@   while a message is rendered from its payload
    @raise:build@                   while a provider's request is built

What is patched is code of ours, by its module, in this process alone.
"""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

from connectors.providers.push import apns
from flows.steps.deliver import strategy as deliver
from flows.steps.sending import message
from flows.steps.transactional import strategy as transactional
from flows.up.launch import main


def poison(module: ModuleType, name: str, where: str, text_of: Callable[..., bytes]) -> None:
    original, pattern = vars(module)[name], re.compile(rb"@(raise|kill):" + where.encode() + b"@")

    def handle(*arguments: Any, **named: Any) -> Any:
        found = pattern.search(text_of(*arguments))
        if found is not None and found[1] == b"kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if found is not None:
            raise KeyError("secret content")
        return original(*arguments, **named)

    vars(module)[name] = handle


def install() -> None:
    poison(deliver, "decode_to_deliver", "decode", lambda _, value: value)
    poison(transactional, "decide_p0", "decode", lambda event, *_: repr(event.payload).encode())
    poison(message, "render", "render", lambda emission, _: repr(emission.payload).encode())
    poison(apns, "build_request", "build", lambda delivery: delivery.key.encode())


if __name__ == "__main__":
    install()
    code = main(sys.argv[1:])
    sys.stdout.flush()
    os._exit(code)
