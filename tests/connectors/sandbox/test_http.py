"""FCM as other clients meet its simulator: HTTP/1.1 for those that do not ask for HTTP/2, since Google serves both."""

from __future__ import annotations

import http.client
import json
import ssl
from pathlib import Path

import pytest
from helpers.sandbox_process import running_sandbox

from connectors.sandbox.ports import read_ports


@pytest.mark.parametrize("offered", [[], ["http/1.1"]])
def test_who_does_not_ask_for_http2_is_answered_in_http1(tmp_path: Path, offered: list[str]) -> None:
    with running_sandbox(tmp_path) as sandbox:
        ports = read_ports(tmp_path / "sandbox")
        context = ssl.create_default_context(cafile=ports.ca)
        if offered:
            context.set_alpn_protocols(offered)
        connection = http.client.HTTPSConnection("127.0.0.1", ports.fcm, timeout=15, context=context)
        answers = []
        for path in ("/token", "/v1/projects/carillon-sandbox/messages:send", "/other"):
            connection.request("POST", path, b"grant_type=password")
            answer = connection.getresponse()
            answers.append((answer.status, answer.read()))
        connection.close()
        assert sandbox.journal("fcm") == []
    assert [status for status, _ in answers] == [400, 401, 404]
    assert json.loads(answers[0][1]) == {"error": "unsupported_grant_type"}
    assert json.loads(answers[1][1])["error"]["status"] == "UNAUTHENTICATED"
