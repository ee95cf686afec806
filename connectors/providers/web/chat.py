"""Messages in chats, through incoming webhooks as Slack has them; Mattermost and others take the same.

`POST` of `{"text"}` to the address, which is a secret by itself. The answer is a word as plain text. Nobody knows an id
of ours: it travels as Idempotency-Key, for whoever cares.
"""

from __future__ import annotations

import re
from html import escape

import orjson

from connectors.providers.channel import CheckResult, Delivery, Failed, Rejected, Result, Sent, Throttled
from connectors.providers.request import Request
from connectors.providers.retry_after import parse_retry_after
from connectors.providers.transport import Response
from connectors.providers.web.posting import PostingChannel, path_of
from state.model.content import ChatContent

_DEAD = frozenset({
    "no_service", "no_active_hooks", "no_team", "team_disabled", "invalid_token", "channel_not_found",
    "channel_is_archived", "user_not_found",
})  # fmt: skip
"""The webhook, or where it leads to, is no more."""
_REFUSED = frozenset({"action_prohibited", "posting_to_general_channel_denied", "invalid_payload", "no_text"})
"""This message is not taken."""
_OTHER = frozenset({"rollup_error", "rate_limited"})
_GONE = (404, 410)
_MENTION = re.compile(r"(?<!\w)@(?=\w)")
"""Mattermost notifies a whole channel by @channel, where Slack needs `<!channel>`. A mail address has none."""


def build_request(delivery: Delivery) -> Request:
    """The request for one delivery; pure. `&`, `<` and `>` are escaped and a zero-width space follows an @, so no text
    of a user names a channel, a person or a link, and marks such as `*` mean nothing.
    """
    content = delivery.content
    if not isinstance(content, ChatContent):
        raise TypeError("a line of text is sent to a chat")
    body = orjson.dumps({"text": _MENTION.sub("@\u200b", escape(content.text, quote=False)), "mrkdwn": False})
    headers = {"content-type": "application/json", "idempotency-key": delivery.provider_id}
    return Request(path_of(delivery), headers, body)


def parse_response(response: Response, delivery: Delivery) -> Result:
    """What an answer means; pure. A word that is known comes first, also inside a success, then the status."""
    document = response.document()
    word = str(document.get("error") or response.body[:64].decode("latin-1")).strip()
    known = word in _DEAD | _REFUSED | _OTHER
    status, reason = response.status, word if known else f"status {response.status}"
    if 200 <= status < 300 and not known and document.get("ok") is not False:
        return Sent(delivery.provider_id)
    if word in _DEAD or (status in _GONE and not known):
        return Rejected(reason, token_gone=delivery.registered_at)
    if word in _REFUSED:
        return Rejected(reason)
    wait = parse_retry_after(response.headers)
    if status == 429:
        return Throttled(wait, reason, of_address=True)
    if status in (400, 403):
        return Rejected(reason)
    return Failed(reason, retry_after=wait, of_address=True)


class ChatChannel(PostingChannel):
    """See `connectors.providers.channel.Channel`."""

    name = "chat"

    def request(self, delivery: Delivery) -> Request:
        """See `build_request`."""
        return build_request(delivery)

    def result(self, response: Response, delivery: Delivery) -> Result:
        """See `parse_response`."""
        return parse_response(response, delivery)

    async def check(self) -> CheckResult:
        """There is nobody to ask without a message."""
        return CheckResult(True, "there is no server to ask; each address is tried with its first message")
