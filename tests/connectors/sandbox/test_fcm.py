"""What the simulator of FCM checks, as Google's service does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import jwt
import pytest

from connectors.providers.push.service_account import AUDIENCE, GRANT_TYPE, SCOPE, ServiceAccount, load_service_account
from connectors.sandbox.certificates import SandboxFiles, make_certificates
from connectors.sandbox.fcm import TOKEN_LIFE_S, FcmServer
from connectors.sandbox.http2 import Answer
from connectors.sandbox.journal import Journal

NOW_S = 1_000_000
TOKEN = "f:" + "A" * 60


class Google:
    """The simulator and its service account, at a time that the test sets."""

    def __init__(self, directory: Path) -> None:
        files = SandboxFiles(directory)
        make_certificates(files)
        self.account: ServiceAccount = load_service_account(files.service_account.read_bytes(), key="k")
        self.now_s = float(NOW_S)
        self._server = FcmServer(Journal(directory, "fcm"), self.account, clock_s=lambda: self.now_s)

    def grant(self, *, key_id: str | None = None, grant_type: str = GRANT_TYPE, **changes: Any) -> Answer:
        claims = {"iss": self.account.email, "aud": AUDIENCE, "scope": SCOPE, "iat": NOW_S, "exp": NOW_S + 3600}
        head = {"kid": self.account.key_id if key_id is None else key_id}
        assertion = jwt.encode(claims | changes, self.account.key, algorithm="RS256", headers=head)
        form = urlencode({"grant_type": grant_type, "assertion": assertion})
        return self._server.judge({":method": "POST", ":path": "/token"}, form.encode())

    def send(self, body: Any, *, bearer: str | None = None, project: str | None = None) -> Answer:
        token = json.loads(self.grant().content)["access_token"] if bearer is None else bearer
        headers = {
            ":method": "POST", ":path": f"/v1/projects/{project or self.account.project}/messages:send",
            "authorization": f"Bearer {token}",
        }  # fmt: skip
        return self._server.judge(headers, json.dumps(body).encode())


@pytest.fixture
def google(tmp_path: Path) -> Google:
    return Google(tmp_path)


def code_of(answer: Answer) -> str | None:
    details = json.loads(answer.content)["error"]["details"]
    return next((detail["errorCode"] for detail in details if "errorCode" in detail), None)


@pytest.mark.parametrize(
    "wrong",
    [
        {"aud": "https://127.0.0.1/token"}, {"iss": "eve@example.com"}, {"scope": "https://example.com/other"},
        {"iat": NOW_S - 4000, "exp": NOW_S - 400}, {"iat": NOW_S + 100, "exp": NOW_S + 3700}, {"exp": NOW_S + 7200},
        {"key_id": "another"}, {"grant_type": "password"},
    ],
)  # fmt: skip
def test_an_assertion_that_google_refuses_is_refused(google: Google, wrong: dict[str, Any]) -> None:
    refused = google.grant(**wrong)
    assert refused.status == 400
    assert "access_token" not in json.loads(refused.content)


def test_a_token_is_good_until_it_ends_and_no_other_is(google: Google) -> None:
    token = json.loads(google.grant().content)["access_token"]
    body = {"message": {"token": TOKEN}}
    assert google.send(body, bearer=token).status == 200
    google.now_s += TOKEN_LIFE_S
    for bearer in (token, "", "ya29.another"):
        refused = google.send(body, bearer=bearer)
        assert (refused.status, code_of(refused)) == (401, None)


@pytest.mark.parametrize(
    "message",
    [
        {"token": TOKEN, "tokens": []}, {"token": TOKEN, "data": {"count": 1}}, {"token": TOKEN, "topic": "both"}, {},
        {"token": TOKEN, "fid": "dUmmy_installation-Id1"},
        {"token": TOKEN, "android": {"TTL": "1s"}}, {"token": TOKEN, "android": {"ttl": "soon"}},
        {"token": TOKEN, "android": {"ttl": "2419201s"}}, {"token": TOKEN, "android": {"priority": "urgent"}},
        {"token": TOKEN, "notification": {"body": "x" * 4097}}, {"token": TOKEN, "data": {"x" * 4000: "y" * 97}},
    ],
)  # fmt: skip
def test_a_message_that_fcm_does_not_know_is_our_fault(google: Google, message: dict[str, Any]) -> None:
    refused = google.send({"message": message})
    assert (refused.status, code_of(refused)) == (400, "INVALID_ARGUMENT")
    assert "fieldViolations" in refused.content.decode()


@pytest.mark.parametrize("token", ["short", "f:" + "A" * 60 + "!", "hang", "gone:" + "!" * 60])
def test_what_is_no_registration_token_is_refused_as_google_does(google: Google, token: str) -> None:
    refused = google.send({"message": {"token": token}})
    assert (refused.status, code_of(refused)) == (400, "INVALID_ARGUMENT")
    assert "fieldViolations" not in refused.content.decode()


def test_an_app_is_known_by_its_installation_too(google: Google) -> None:
    assert google.send({"message": {"fid": "dUmmy_installation-Id1"}}).status == 200
    assert google.send({"message": {"fid": "short"}}).status == 400


def test_a_token_of_googles_that_begins_like_a_name_is_none(google: Google) -> None:
    assert google.send({"message": {"token": f"gone-{TOKEN}"}}).status == 200


def test_another_project_and_what_is_only_to_be_checked_reach_nobody(google: Google) -> None:
    body = {"message": {"token": TOKEN}}
    assert google.send(body, project="other").status == 404
    checked = google.send({**body, "validate_only": True})
    assert (checked.status, checked.to) == (200, "")
    assert google.send(body).to == TOKEN
