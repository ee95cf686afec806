"""A mail server that takes everything on aiosmtpd, but for the recipients that ask for something else.

The journal's `id` is the Message-ID, `body_sha256` is over the whole mail as it came. Mails are kept nowhere but in
`DIR/sandbox/mail/`, the last 200 of them as `<sha256 of Message-ID>.eml`, to look at.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections import deque
from email import message_from_bytes, policy
from pathlib import Path
from typing import Any, cast

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, Session

from connectors.sandbox.http2 import BYTE_EVERY_S, GARBLED
from connectors.sandbox.journal import Entry, Journal
from connectors.sandbox.misbehaviour import Behaviour, Misbehaviours

KEPT_MAX = 200
_TAKEN = "250 2.0.0 taken"
_SIZE_MAX_BYTES = 1_000_000
_TEXTS = {
    450: "4.2.1 mailbox busy, try again later",
    451: "4.7.1 greylisted, try again later",
    452: "4.2.2 mailbox full",
    421: "4.3.2 shutting down",
    530: "5.7.0 authentication required",
    550: "5.1.1 no such user",
    552: "5.2.2 mailbox full",
    554: "5.7.1 refused by policy",
}

_OF_KIND = {"gone": 550, "bad": 550, "credential": 530}


class Mailbox:
    """The handler that aiosmtpd calls."""

    def __init__(self, journal: Journal, directory: Path) -> None:
        self._journal, self._directory = journal, directory
        self.misbehaviours = Misbehaviours()
        self._kept = deque(sorted(directory.glob("*.eml"), key=lambda path: path.stat().st_mtime))
        directory.mkdir(parents=True, exist_ok=True)
        logging.getLogger("mail.log").setLevel(logging.CRITICAL)  # aiosmtpd writes there who gets mail

    async def handle_RCPT(  # noqa: N802  # aiosmtpd looks for this name
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """Refuse 4xx and 55x recipients here; 552 and 554 are refused after DATA."""
        behaviour = self.misbehaviours.of(address.partition("@")[0], address)
        status = _OF_KIND.get(behaviour.kind, behaviour.status)
        if status and status not in (552, 554):
            self._journal.write([Entry(address, "", status)])
            return _refusal(status)
        envelope.rcpt_tos.append(address)
        envelope.rcpt_options.extend(options)
        _behaviours(envelope).append(behaviour)
        return "250 2.1.5 ok"

    async def handle_DATA(self, server: SmtpConnection, session: Session, envelope: Envelope) -> str:  # noqa: N802  # as above
        """Write the journal, then answer as the first recipient asks."""
        content = envelope.content if isinstance(envelope.content, bytes) else b""
        identity = str(message_from_bytes(content, policy=policy.compat32).get("Message-ID", ""))
        behaviour = _behaviours(envelope)[0]
        status = behaviour.status or 250
        self._journal.write([Entry(to, identity, status, content) for to in envelope.rcpt_tos])
        if status != 250:
            return _refusal(status)
        self._keep(identity, content)
        return await _take(server, behaviour)

    def signs_in(self) -> AuthResult:
        """What is said to a name and a password."""
        return AuthResult(success=not self.misbehaviours.meets("credential"), handled=False)

    def _keep(self, identity: str, content: bytes) -> None:
        path = self._directory / f"{hashlib.sha256(identity.encode()).hexdigest()[:40]}.eml"
        path.write_bytes(content)
        self._kept.append(path)
        if len(self._kept) > KEPT_MAX:
            self._kept.popleft().unlink(missing_ok=True)


class SmtpConnection(SMTP):
    """One connection of a client, who may sign in by any name and password: steered by `credential` he gets 535."""

    def __init__(self, mailbox: Mailbox) -> None:
        loop = asyncio.get_running_loop()
        super().__init__(
            mailbox, hostname="sandbox.invalid", ident="sandbox", data_size_limit=_SIZE_MAX_BYTES, loop=loop,
            authenticator=lambda *_: mailbox.signs_in(), auth_require_tls=False,
        )  # fmt: skip

    def abort(self) -> None:
        """Break off at once, whatever is under way."""
        if self.transport is not None:
            cast(asyncio.Transport, self.transport).abort()

    def write(self, text: str) -> None:
        """A part of an answer."""
        if self.transport is not None:
            cast(asyncio.Transport, self.transport).write(text.encode())


async def _take(server: SmtpConnection, behaviour: Behaviour) -> str:
    """What is answered to a mail that was taken, when it is time."""
    if behaviour.kind in ("drop", "rst"):
        server.abort()
    if behaviour.kind == "stall":
        server.write(_TAKEN[:6])
    if behaviour.kind in ("drop", "rst", "stall", "hang"):
        await asyncio.sleep(3600)  # the connection's end cancels this: no answer is ever written
    if behaviour.kind == "trickle":
        for letter in _TAKEN[:-1]:
            server.write(letter)
            await asyncio.sleep(BYTE_EVERY_S)
        return _TAKEN[-1]
    await asyncio.sleep(behaviour.delay_ms / 1000)
    return GARBLED.decode() if behaviour.kind == "garbled" else _TAKEN


def _behaviours(envelope: Envelope) -> list[Behaviour]:
    """The behaviours of this envelope's recipients, in their order."""
    store: Any = envelope
    if not hasattr(store, "behaviours"):
        store.behaviours = []
    found: list[Behaviour] = store.behaviours
    return found


def _refusal(status: int) -> str:
    return f"{status} {_TEXTS.get(status, 'refused')}"
