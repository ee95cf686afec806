"""The file of a service account."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from connectors.providers.push.service_account import load_service_account
from connectors.sandbox.certificates import SandboxFiles, make_certificates
from state.model.errors import ConfigurationError


def test_what_is_no_service_account_is_refused_by_its_key_and_not_quoted(tmp_path: Path) -> None:
    files = SandboxFiles(tmp_path)
    make_certificates(files)
    good = json.loads(files.service_account.read_bytes())
    for content in (b"?", b"{}", json.dumps(good | {"private_key": "secret"}).encode()):
        with pytest.raises(ConfigurationError, match=r"^providers\.fcm: not the JSON file") as caught:
            load_service_account(content, key="providers.fcm")
        assert "secret" not in str(caught.value)
    elliptic = json.dumps(good | {"private_key": files.signing_key.read_text()}).encode()
    with pytest.raises(ConfigurationError, match="not an RSA key"):
        load_service_account(elliptic, key="providers.fcm")
    assert "PRIVATE" not in repr(load_service_account(files.service_account.read_bytes(), key="k"))
