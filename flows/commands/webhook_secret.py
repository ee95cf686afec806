"""`carillon webhook-secret`: what the receiver of one endpoint checks signatures with."""

from __future__ import annotations

from connectors.providers.web.signature import endpoint_secret
from flows.config.settings import Settings
from state.model.errors import ConfigurationError


def webhook_secrets(settings: Settings, user: str, endpoint: str) -> list[str]:
    """The secrets by which messages to an endpoint are signed, the newest first.

    :raises ConfigurationError: webhooks are not configured.
    """
    options = settings.providers.webhook
    if options is None:
        raise ConfigurationError("providers.webhook: is not configured, so nobody is sent webhooks")
    given = (options.secret, options.secret_before)
    return [endpoint_secret(secret, user, endpoint) for secret in given if secret]
