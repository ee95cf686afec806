"""What the providers take, in the words that a person sees: shown to whoever watches, stored nowhere.

A watcher makes the pipe `DIR/sandbox/watch`, which only this user may open. While it reads there, each provider writes
every message that it took into the pipe, one JSON object a line: `{"provider","to","text"}`, read out of the bytes that
came, and of browsers `message`. Without a reader, or where it reads too slowly, nothing is written. Journals hold
hashes, watched or not.
"""

from __future__ import annotations

import contextlib
import os
import select
from email import message_from_bytes, policy
from html import unescape
from pathlib import Path
from urllib.parse import parse_qs

import msgspec

_TEXT_MAX = 200
_CHUNK_BYTES = 65_536


class Taken(msgspec.Struct, frozen=True):
    """One message that a provider took."""

    provider: str
    """apns, fcm, webpush, twilio, smpp, smtp, ses, webhook or chat."""
    to: str
    text: str
    """What the person reads; of a mail the subject and then the text. Empty: something leaves a browser's screen."""
    message: str = ""
    """webpush: what the browser hands to the page's service worker, JSON."""


_decoder = msgspec.json.Decoder(Taken)


def text_of(provider: str, body: bytes) -> str:
    """What a person reads of a message as it came."""
    if provider == "apns":
        return str(msgspec.json.decode(body)["aps"]["alert"]["body"])
    if provider == "fcm":
        return str(msgspec.json.decode(body)["message"]["notification"]["body"])
    if provider == "webpush":
        return str(msgspec.json.decode(body).get("body", ""))
    if provider == "webhook":
        return str(msgspec.json.decode(body)["data"]["text"])
    if provider == "chat":
        return unescape(str(msgspec.json.decode(body)["text"]))
    if provider == "twilio":
        return parse_qs(body.decode())["Body"][0]
    if provider == "smpp":
        return body.decode()
    mail = message_from_bytes(body, policy=policy.default)
    plain = mail.get_body(("plain",))
    return f"{mail['Subject']} | {plain.get_content() if plain else ''}"


def pipe_of(directory: Path) -> Path:
    """The pipe of the sandbox whose files are in `directory`."""
    return directory / "watch"


def tell(pipe: Path, provider: str, to: str, body: bytes) -> None:
    """Show a message to the watcher, if there is one; never blocks."""
    try:
        end = os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
    except OSError:
        return  # nobody watches
    try:
        text = " ".join(text_of(provider, body).split())[:_TEXT_MAX]
        message = body.decode() if provider == "webpush" else ""
        line = msgspec.json.encode(Taken(provider, to, text, message)) + b"\n"
        if len(line) <= select.PIPE_BUF:  # then it is written in whole or not at all
            os.write(end, line)
    except (OSError, LookupError, ValueError):
        pass  # the watcher is slow or gone, or the provider took what has no text
    finally:
        os.close(end)


class Watcher:
    """Reads what the sandbox in `directory` takes from now on; one at a time."""

    def __init__(self, directory: Path) -> None:
        """Make the pipe."""
        self._pipe = pipe_of(directory)
        directory.mkdir(parents=True, exist_ok=True)
        self._pipe.unlink(missing_ok=True)
        os.mkfifo(self._pipe, 0o600)
        self._end = os.open(self._pipe, os.O_RDONLY | os.O_NONBLOCK)

    def take(self) -> list[Taken]:
        """What came since the last call; does not wait."""
        data = bytearray()
        with contextlib.suppress(BlockingIOError):
            while chunk := os.read(self._end, _CHUNK_BYTES):
                data += chunk
        return _decoder.decode_lines(data)

    def close(self) -> None:
        """Remove the pipe."""
        os.close(self._end)
        self._pipe.unlink(missing_ok=True)
