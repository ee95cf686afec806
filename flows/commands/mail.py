"""`carillon mail classify`: what mails that came back say."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from connectors.providers.email.mailboxes import stored_mails
from connectors.providers.email.returned.classify import classify
from connectors.providers.email.returned.values import Recipient, Returned
from flows.commands.output import Output


def show_returned(paths: Sequence[Path], output: Output) -> None:
    """One line for each mail."""
    for path in paths:
        for mail in stored_mails(path):
            returned = classify(mail.raw)
            output.show({"file": mail.file, "message": mail.number, **_record(returned)}, _text(mail.file, returned))


def _record(returned: Returned) -> dict[str, Any]:
    recipients = [
        {
            "address": each.address, "status": each.status, "kind": each.kind, "action": each.action,
            "cause": each.cause or None, "diagnostic": each.diagnostic or None,
        }
        for each in returned.recipients
    ]  # fmt: skip
    return {
        "kind": returned.kind, "recipients": recipients, "form": returned.form or None, "feedback": returned.feedback,
        "message_id": returned.message_id, "doubts": list(returned.doubts),
    }  # fmt: skip


def _text(file: str, returned: Returned) -> str:
    return "\n".join([": ".join((file, ", ".join(_words(returned)))), *map(_line, returned.recipients)])


def _words(returned: Returned) -> Iterator[str]:
    yield returned.kind
    if returned.feedback is not None:
        yield f"feedback {returned.feedback}"
    yield from returned.doubts


def _line(recipient: Recipient) -> str:
    known = (recipient.kind, recipient.action, recipient.status, recipient.cause, recipient.diagnostic)
    return f"  {recipient.address}: {', '.join(each for each in known if each)}"
