"""A mail server that takes everything on aiosmtpd, but for the recipients that ask for something else.

The journal's `id` is the Message-ID, `body_sha256` is over the whole mail as it came. Mails are kept nowhere but in
`DIR/sandbox/mail/`, the last 200 of them as `<sha256 of Message-ID>.eml`, to look at.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import deque
from email import message_from_bytes, policy
from pathlib import Path
from typing import Any, cast

from aiosmtpd.smtp import SMTP, Envelope, Session

from connectors.sandbox.journal import Entry, Journal
from connectors.sandbox.misbehaviour import Behaviour, Misbehaviours

KEPT_MAX = 200
_SIZE_MAX_BYTES = 1_000_000
_TEXTS = {
    450: "4.2.1 mailbox busy, try again later",
    451: "4.7.1 greylisted, try again later",
    452: "4.2.2 mailbox full",
    421: "4.3.2 shutting down",
    550: "5.1.1 no such user",
    552: "5.2.2 mailbox full",
    554: "5.7.1 refused by policy",
}


class Mailbox:
    """The handler that aiosmtpd calls."""

    def __init__(self, journal: Journal, directory: Path) -> None:
        self._journal, self._directory = journal, directory
        self._misbehaviours = Misbehaviours()
        self._kept = deque(sorted(directory.glob("*.eml"), key=lambda path: path.stat().st_mtime))
        directory.mkdir(parents=True, exist_ok=True)

    async def handle_RCPT(  # noqa: N802  # aiosmtpd looks for this name
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """Refuse 4xx and 55x recipients here; 552 and 554 are refused after DATA."""
        behaviour = self._misbehaviours.of(address.partition("@")[0])
        if behaviour.kind == "refuse" and behaviour.status not in (552, 554):
            self._journal.write([Entry(address, "", behaviour.status)])
            return _refusal(behaviour.status)
        envelope.rcpt_tos.append(address)
        envelope.rcpt_options.extend(options)
        _behaviours(envelope).append(behaviour)
        return "250 2.1.5 ok"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802  # as above
        """Write the journal, then answer as the first recipient asks."""
        content = envelope.content if isinstance(envelope.content, bytes) else b""
        identity = str(message_from_bytes(content, policy=policy.compat32).get("Message-ID", ""))
        behaviour = _behaviours(envelope)[0]
        status = behaviour.status if behaviour.kind == "refuse" else 250
        self._journal.write([Entry(to, identity, status, content) for to in envelope.rcpt_tos])
        if status != 250:
            return _refusal(status)
        self._keep(identity, content)
        return await _take(server, behaviour)

    def _keep(self, identity: str, content: bytes) -> None:
        path = self._directory / f"{hashlib.sha256(identity.encode()).hexdigest()[:40]}.eml"
        path.write_bytes(content)
        self._kept.append(path)
        if len(self._kept) > KEPT_MAX:
            self._kept.popleft().unlink(missing_ok=True)


async def start_smtp(port: int, mailbox: Mailbox) -> asyncio.Server:
    """Listen on 127.0.0.1."""
    loop = asyncio.get_running_loop()

    def session() -> SMTP:
        return SMTP(mailbox, hostname="sandbox.invalid", ident="sandbox", data_size_limit=_SIZE_MAX_BYTES, loop=loop)

    return await loop.create_server(session, "127.0.0.1", port, backlog=256)


async def _take(server: SMTP, behaviour: Behaviour) -> str:
    if behaviour.kind == "hang":
        await asyncio.sleep(3600)
    if behaviour.kind in ("drop", "rst") and server.transport is not None:
        cast(asyncio.Transport, server.transport).abort()
        await asyncio.sleep(3600)  # the connection's end cancels this: no answer is ever written
    if behaviour.delay_ms:
        await asyncio.sleep(behaviour.delay_ms / 1000)
    return "250 2.0.0 taken"


def _behaviours(envelope: Envelope) -> list[Behaviour]:
    """The behaviours of this envelope's recipients, in their order."""
    store: Any = envelope
    if not hasattr(store, "behaviours"):
        store.behaviours = []
    found: list[Behaviour] = store.behaviours
    return found


def _refusal(status: int) -> str:
    return f"{status} {_TEXTS.get(status, 'refused')}"
