"""What chats are sent, and what their answers mean: pure."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta

import pytest
from helpers.deliveries import REGISTERED, delivery

from connectors.providers.channel import Failed, Rejected, Result, Sent, Throttled
from connectors.providers.transport import Response
from connectors.providers.web import chat
from state.model.content import ChatContent

LINE = delivery(
    ChatContent("<!channel> A & B > C <https://x.example|y>"), channel="chat", address="https://hooks.example.org/T/B/x"
)


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (200, b"ok", Sent("pid")),
        (400, b"invalid_payload", Rejected("invalid_payload")),
        (400, b"no_text", Rejected("no_text")),
        (400, b"user_not_found", Rejected("user_not_found", token_gone=REGISTERED)),
        (400, b"something new", Rejected("status 400")),
        (403, b"action_prohibited", Rejected("action_prohibited")),
        (403, b"invalid_token", Rejected("invalid_token", token_gone=REGISTERED)),
        (403, b"<html>", Rejected("status 403")),
        (404, b"no_service", Rejected("no_service", token_gone=REGISTERED)),
        (404, b"channel_not_found\n", Rejected("channel_not_found", token_gone=REGISTERED)),
        (404, b"", Rejected("status 404", token_gone=REGISTERED)),
        (410, b"channel_is_archived", Rejected("channel_is_archived", token_gone=REGISTERED)),
        (410, b"<html>", Rejected("status 410", token_gone=REGISTERED)),
        (302, b"", Failed("status 302", of_address=True)),
        (500, b"rollup_error", Failed("rollup_error", of_address=True)),
        (503, b"", Failed("status 503", of_address=True)),
    ],
)
def test_answers(status: int, body: bytes, expected: Result) -> None:
    assert chat.parse_response(Response(status, {}, body), LINE) == expected


def test_a_chat_that_is_asked_too_often_is_left_alone_for_as_long_as_it_says() -> None:
    response = Response(429, {"retry-after": "30"}, b"rate_limited")
    assert chat.parse_response(response, LINE) == Throttled(timedelta(seconds=30), "rate_limited", of_address=True)


def test_no_text_of_a_user_names_a_channel_or_a_link() -> None:
    request = chat.build_request(LINE)
    assert request.path == "/T/B/x"
    assert json.loads(request.body) == {
        "text": "&lt;!channel&gt; A &amp; B &gt; C &lt;https://x.example|y&gt;",
        "mrkdwn": False,
    }
    assert request.headers["idempotency-key"] == "pid"
    ours = ChatContent("@channel (@here) ask ann@x.example @ 5")
    text = json.loads(chat.build_request(replace(LINE, content=ours)).body)["text"]
    assert text == "@\u200bchannel (@\u200bhere) ask ann@x.example @ 5"
