"""Mails of the deliver flow as a process: the link to unsubscribe that they bear, and what becomes of those without."""

from __future__ import annotations

import email
import email.policy
import hashlib
from email.message import EmailMessage
from email.utils import parseaddr

from helpers.feeding import System
from helpers.sandbox_process import Sandbox
from helpers.waiting import wait_for

from connectors.sandbox.options import SENDER_ADDRESS
from flows.config.access import LINK_KEY_FILE
from state.model.unsubscribe import LinkKeys

URL = "https://notify.example/app"


def configure(system: System, text: str) -> None:
    (system.directory / "carillon.toml").write_text(text)


def mail_to(sandbox: Sandbox, address: str) -> EmailMessage:
    (entry,) = sandbox.to("smtp", address)
    name = hashlib.sha256(str(entry["id"]).encode()).hexdigest()[:40]
    raw = (sandbox.directory / "sandbox" / "mail" / f"{name}.eml").read_bytes()
    message = email.message_from_bytes(raw, policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    return message


def text_of(message: EmailMessage, kind: str) -> str:
    part = message.get_body((kind,))
    assert part is not None
    return str(part.get_content())


def test_a_mail_that_can_be_left_bears_a_signed_link_and_others_none(system: System, sandbox: Sandbox) -> None:
    configure(system, f'[gateway]\npublic_url = "{URL}/"\n')
    bulk = {"type": "newsletter", "priority": "P2", "category": "marketing"}
    items = [{"event_id": f"e{n}", "type": name, "actor": "ann"} for n, name in enumerate(["reply", "comment"])]
    system.feed([
        system.emission("u1", "email", [("m", "u1@example.com")], locale="de", **bulk),
        system.emission("ü" * 256, "email", [("m", "long@example.com")], **bulk),
        system.emission("u3", "email", [("m", "u3@example.com")], type="digest", object=None, digest_items=items),
        system.emission("u4", "email", [("m", "u4@example.com")], type="security_alert", payload={"text": "x"}),
    ])  # fmt: skip
    with system.flow("deliver"):
        wait_for(lambda: len(system.deliveries()) == 4)
    keys = LinkKeys([(system.directory / LINK_KEY_FILE).read_bytes()])
    for user, address, category in (
        ("u1", "u1@example.com", "marketing"),
        ("ü" * 256, "long@example.com", "marketing"),
        ("u3", "u3@example.com", "social"),
    ):
        message = mail_to(sandbox, address)
        link = "".join(str(message["List-Unsubscribe"]).split()).strip("<>")
        assert message["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
        assert link.startswith(f"{URL}/v1/unsubscribe/")
        found = keys.read(link.rpartition("/")[2])
        assert found is not None
        assert (found.user, found.channel, found.categories) == (user, "email", (category,))
        assert link in text_of(message, "plain")
        assert f'<a href="{link}">' in text_of(message, "html")
        assert parseaddr(str(message["From"]))[1] == SENDER_ADDRESS
    mandatory = mail_to(sandbox, "u4@example.com")
    assert not [name for name in mandatory.keys() if name.startswith("List-")]  # noqa: SIM118  # a mail's are no dict's
    assert "/v1/unsubscribe/" not in mandatory.as_string()
    assert parseaddr(str(mandatory["From"]))[1] == SENDER_ADDRESS.replace("@", "+account@")


def test_without_a_public_address_mails_go_and_bear_no_link(system: System, sandbox: Sandbox) -> None:
    port = sandbox.options.smtp.port
    configure(
        system, f'[providers.smtp]\nhost = "127.0.0.1"\nport = {port}\nsecurity = "none"\nsender = "a@example.com"\n'
    )
    bulk = {"type": "newsletter", "priority": "P2", "category": "marketing"}
    system.feed([system.emission("u1", "email", [("m", "u1@example.com")], **bulk)])
    with system.flow("deliver"):
        wait_for(lambda: len(system.deliveries()) == 1)
    assert [each["outcome"] for each in system.deliveries().values()] == ["DELIVERED"]
    message = mail_to(sandbox, "u1@example.com")
    assert not [name for name in message.keys() if name.startswith("List-")]  # noqa: SIM118  # a mail's are no dict's
    assert "/v1/unsubscribe/" not in message.as_string()
