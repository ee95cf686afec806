"""`carillon token`: a user's JWT for trying, signed as the host application would."""

from __future__ import annotations

from datetime import timedelta

from connectors.gateway.auth import user_token
from flows.config.access import user_tokens
from flows.config.settings import Settings
from flows.process.open import clock_ms
from operators.validate import text_errors
from state.model.errors import CarillonError, ConfigurationError

LIFE = timedelta(days=1)


class BadUserError(CarillonError):
    """No user can have this name."""


def development_token(settings: Settings, user: str) -> str:
    """A token for `user`, good for a day.

    :raises BadUserError: the gateway would refuse it: no user has such a name.
    :raises ConfigurationError: users' tokens are signed by a key that this machine does not have.
    """
    for error in text_errors("user", user):
        raise BadUserError(f"USER {error.problem}; {error.remedy}")
    users = user_tokens(settings)
    if not users.algorithms[0].startswith("HS"):
        raise ConfigurationError(
            "gateway.user_algorithms: only the holder of the private key can sign; ask the host application"
        )
    return user_token(user, users, now_ms=clock_ms(), lifetime=LIFE)
