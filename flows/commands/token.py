"""`carillon token`: a user's JWT for trying, signed as the host application would."""

from __future__ import annotations

import time
from datetime import timedelta

import jwt

from state.model.secret import Secret

LIFE = timedelta(days=1)


def user_token(user: str, secret: Secret, *, now_s: int | None = None) -> str:
    """The token: HS256, `sub` is the user, good for a day."""
    issued = int(time.time()) if now_s is None else now_s
    claims = {"sub": user, "iat": issued, "exp": issued + int(LIFE.total_seconds())}
    return jwt.encode(claims, secret.reveal(), algorithm="HS256")
