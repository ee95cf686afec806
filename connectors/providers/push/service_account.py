"""Google's service account: who sends to FCM, and what its assertions say (OAuth 2.0, RFC 7523)."""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from state.model.errors import ConfigurationError

AUDIENCE = "https://oauth2.googleapis.com/token"
"""Who the assertion is for, wherever it is sent."""
SCOPE = "https://www.googleapis.com/auth/firebase.messaging"
GRANT_TYPE = "urn:ietf:params:oauth:grant-type:jwt-bearer"
ASSERTION_LIFE_S = 3600


class _AccountFile(msgspec.Struct, frozen=True):
    """What is needed of the file that Google gives for a service account."""

    project_id: str
    private_key_id: str
    private_key: str
    client_email: str
    token_uri: str = AUDIENCE


@dataclass(frozen=True, slots=True)
class ServiceAccount:
    """Who sends."""

    project: str
    email: str
    key_id: str
    token_url: str
    key: RSAPrivateKey = field(repr=False)


def load_service_account(content: bytes, *, key: str) -> ServiceAccount:
    """The service account in the file that Google gives for it.

    :raises ConfigurationError: naming the configuration key.
    """
    try:
        file = msgspec.json.decode(content, type=_AccountFile)
        loaded = load_pem_private_key(file.private_key.encode(), password=None)
    except (msgspec.MsgspecError, ValueError, TypeError):
        raise ConfigurationError(f"{key}: not the JSON file of a service account's key") from None  # it would be quoted
    if not isinstance(loaded, RSAPrivateKey):
        raise ConfigurationError(f"{key}: its private_key is not an RSA key")
    return ServiceAccount(file.project_id, file.client_email, file.private_key_id, file.token_uri, loaded)
