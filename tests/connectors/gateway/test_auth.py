"""Which credentials are recognised: what a gateway that serves them is asked stands in `test_guard`."""

import jwt
import pytest

from connectors.gateway.auth import Authenticator
from connectors.gateway.options import UserTokens
from connectors.gateway.problems import ProblemError

SECRET = "a secret of thirty-two bytes or more, for tests"


def test_a_session_without_an_end_is_for_those_who_configured_it() -> None:
    endless = "Bearer " + jwt.encode({"sub": "anne"}, SECRET)
    with pytest.raises(ProblemError) as raised:
        Authenticator((), UserTokens(SECRET), text_errors=lambda _path, _value: ()).recognise(endless)
    assert raised.value.status == 401
    allowing = UserTokens(SECRET, expiry_required=False)
    assert Authenticator((), allowing, text_errors=lambda _path, _value: ()).recognise(endless).name == "anne"
