"""`carillon token`: only for names that the gateway takes."""

from pathlib import Path

import pytest
from helpers.up import carillon

from flows.commands.token import BadUserError, development_token
from flows.config.settings import Settings


@pytest.mark.parametrize("user", ["", "a\nb", "u" * 257, "e\u0301"])
def test_a_user_whom_the_gateway_would_refuse_gets_no_token(user: str, tmp_path: Path) -> None:
    with pytest.raises(BadUserError, match="USER"):
        development_token(Settings(data_dir=tmp_path), user)


def test_a_user_gets_a_token(tmp_path: Path) -> None:
    assert development_token(Settings(data_dir=tmp_path), "zoé").count(".") == 2
    (tmp_path / "log").mkdir()
    refused = carillon("token", "a\nb", "--data", str(tmp_path))
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "control character" in refused.stderr
