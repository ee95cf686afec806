"""The mail of a delivery, signed, as every provider of mail hands it over."""

from __future__ import annotations

from collections.abc import Set

from connectors.providers.channel import Delivery
from connectors.providers.email.dkim import DkimSigner, load_dkim_key
from connectors.providers.email.message import build_message
from connectors.providers.email.options import MailOptions
from state.model.content import EmailContent


def build_mail(
    delivery: Delivery, options: MailOptions, *, date_s: float, signer: DkimSigner | None, reference: str = ""
) -> bytes:
    """The mail, signed where there is a signer; pure. The Message-ID is the delivery's `provider_id`.

    :raises UnsafeMessageError: it cannot be sent as meant.
    """
    if not isinstance(delivery.content, EmailContent):
        raise TypeError("a mail is sent to a mailbox")
    message = build_message(
        delivery.content,
        recipient=delivery.address,
        sender=options.sender_of(delivery.content),
        sender_name=options.sender_name,
        identity=delivery.provider_id,
        date_s=date_s,
        reference=reference,
    )
    return message if signer is None else signer.sign(message, now_s=int(date_s))


def dkim_signer(options: MailOptions, *, rewritten: Set[str] = frozenset()) -> DkimSigner | None:
    """What signs a provider's mails; None: nothing does. The provider changes the `rewritten` headers on the way.

    :raises ConfigurationError: the key cannot be read.
    """
    if options.dkim_key is None:
        return None
    key = load_dkim_key(options.dkim_key, name=f"providers.{options.table}.dkim_key")
    return DkimSigner(key, domain=options.signing_domain, selector=options.dkim_selector, rewritten=rewritten)
