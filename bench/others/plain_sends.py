"""Pushes and mails by plain clients that a user would pick: `plain_sends.py CLIENT`, and as JSON what it needs.

Runs in an environment of its own (`tests/foreign/requirements.lock`) and imports nothing of ours. The messages are made
before the clock starts. Nothing is kept of their outcomes, so this is the least that a send costs with such a client.
Prints how many were taken, and the processor time and seconds that they took.
"""

import asyncio
import json
import os
import ssl
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from email.message import EmailMessage
from typing import Any
from uuid import uuid4

Send = Callable[[Any], Awaitable[bool]]
AT_ONCE = 100
PUSH = {"aps": {"alert": {"title": "Carillon", "body": "Ann liked your photo"}}, "event_id": "e1", "type": "like"}


async def aioapns(given: dict[str, Any], _stack: AsyncExitStack) -> tuple[list[Any], Send]:
    from aioapns import APNs, NotificationRequest, PushType
    from aioapns.connection import APNsProductionClientProtocol

    APNsProductionClientProtocol.APNS_SERVER, APNsProductionClientProtocol.APNS_PORT = given["host"], given["port"]
    trust = ssl.create_default_context(cafile=given["ca"])
    trust.set_alpn_protocols(["h2"])
    client = APNs(
        key=given["key"], key_id=given["key_id"], team_id=given["team_id"], topic=given["topic"], max_connections=1,
        ssl_context=trust,
    )  # fmt: skip

    async def send(request: NotificationRequest) -> bool:
        return bool((await client.send_notification(request)).is_successful)

    made = [
        NotificationRequest(f"{number:064}", PUSH, push_type=PushType.ALERT, notification_id=str(uuid4()))
        for number in range(given["count"])
    ]
    return made, send


async def httpx(given: dict[str, Any], stack: AsyncExitStack) -> tuple[list[Any], Send]:
    from httpx import AsyncClient, Limits

    trust = ssl.create_default_context(cafile=given["ca"])
    limits = Limits(max_connections=1)
    client = await stack.enter_async_context(AsyncClient(http2=True, verify=trust, limits=limits, timeout=60))
    url, body = f"https://{given['host']}:{given['port']}/3/device/", json.dumps(PUSH).encode()
    fixed = {"authorization": "bearer " + "a" * 200, "apns-topic": given["topic"], "apns-push-type": "alert"}

    async def send(request: tuple[str, dict[str, str]]) -> bool:
        answer = await client.post(request[0], content=body, headers=request[1])
        return bool(answer.status_code == 200)

    return [(url + f"{number:064}", {**fixed, "apns-id": str(uuid4())}) for number in range(given["count"])], send


async def aiosmtplib(given: dict[str, Any], stack: AsyncExitStack) -> tuple[list[Any], Send]:
    from aiosmtplib import SMTP

    idle: asyncio.Queue[SMTP] = asyncio.Queue()
    for _ in range(given["connections"]):
        idle.put_nowait(
            await stack.enter_async_context(SMTP(hostname=given["host"], port=given["port"], start_tls=False))
        )

    async def send(message: EmailMessage) -> bool:
        client = await idle.get()
        try:
            return not (await client.send_message(message))[0]
        finally:
            idle.put_nowait(client)

    return [mail(number) for number in range(given["count"])], send


def mail(number: int) -> EmailMessage:
    message = EmailMessage()
    message["From"], message["To"] = "notifications@carillon.example", f"user{number}@example.com"
    message["Subject"] = "Ann liked your photo"
    message.set_content("Ann liked your photo.\n")
    message.add_alternative("<p>Ann liked your photo.</p>", subtype="html")
    return message


CLIENTS = {each.__name__: each for each in (aioapns, httpx, aiosmtplib)}


async def run(name: str, given: dict[str, Any]) -> dict[str, float]:
    """Some are sent first, so that all connections are open."""
    async with AsyncExitStack() as stack:
        made, send = await CLIENTS[name](given, stack)
        await send(made.pop())
        began, cpu, taken = time.perf_counter(), time.process_time(), 0
        left = iter(made)

        async def worker() -> int:
            return sum([await send(each) for each in left])

        taken = sum(await asyncio.gather(*(worker() for _ in range(AT_ONCE))))
        return {"taken": taken, "cpu_s": time.process_time() - cpu, "seconds": time.perf_counter() - began}


if __name__ == "__main__":
    os.sched_setaffinity(0, {0})
    print(json.dumps(asyncio.run(run(sys.argv[1], json.load(sys.stdin)))))
