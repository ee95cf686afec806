"""`POST /v1/notifications/feedback`: what the session's user did with a notification, for topic `outcomes`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from connectors.gateway.answers import FeedbackStored
from connectors.gateway.bodies import sent_document
from connectors.gateway.http import ApiRequest, ApiResponse, json_response
from connectors.gateway.problems import ProblemError, retry_later
from connectors.gateway.writer import SettingWriter
from connectors.inbox.interface import InboxReader
from connectors.outcomes import outcome_record
from state.model.admission import AdmissionRules
from state.model.documents import NewFeedback
from state.model.errors import StateError, StoreUnavailableError


class Feedback:
    """Answers once it is on the log; what is said again is there twice and counts once."""

    def __init__(
        self, rules: AdmissionRules, writer: SettingWriter, inbox: InboxReader, *, clock: Callable[[], int]
    ) -> None:
        """`inbox` says whose an item is; `clock` in milliseconds since 1970."""
        self._rules, self._writer, self._inbox, self._clock = rules, writer, inbox, clock

    async def post(self, request: ApiRequest) -> ApiResponse:
        """Note it, if one of the user's rows holds the event.

        :raises ProblemError: 404 if none does, 503 if the rows cannot be read.
        """
        user, body = request.caller().name, await sent_document(request, self._rules, NewFeedback)
        event_id, outcome, channel = body["event_id"], body["outcome"], body.get("channel") or "in_app"
        await self._find(user, event_id)
        record = outcome_record(
            outcome, user=user, channel=channel, event_id=event_id, at=self._clock(), partitions=self._writer.partitions
        )
        await self._writer.append([record])
        return json_response(200, FeedbackStored(event_id, outcome, channel))

    async def _find(self, user: str, event_id: str) -> None:
        try:
            row = await asyncio.to_thread(self._inbox.row, user, event_id)
        except (StateError, StoreUnavailableError) as error:
            raise retry_later(503, "the inbox cannot be read just now", 1000) from error
        if row is None:
            raise ProblemError(404, "no row of this inbox holds the event")
