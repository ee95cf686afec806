"""The host application's calls, but for segments: users' addresses, names and locales, who follows whom."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from connectors.gateway.answers import EndpointStored, FollowsStored, ProfileStored
from connectors.gateway.bodies import checked_document, named_in_path, sent_document
from connectors.gateway.devices import Devices
from connectors.gateway.http import ApiRequest, ApiResponse, json_response
from connectors.gateway.notifications import batch_items
from connectors.gateway.preferences import Preferences
from connectors.gateway.problems import ProblemError, invalid
from connectors.gateway.records import erase_record, follow_record, profile_record
from connectors.gateway.writer import SettingWriter
from state.model.admission import AdmissionRules, FieldError
from state.model.documents import Follow, NewEndpoint, Profile

_NOTHING = ApiResponse(204, b"")


class Host:
    """Calls with a service key of the host application."""

    def __init__(
        self, rules: AdmissionRules, writer: SettingWriter, devices: Devices, preferences: Preferences
    ) -> None:
        """Write through `writer`; addresses go through `devices`, which keeps their limits."""
        self._rules, self._writer, self._devices, self._preferences = rules, writer, devices, preferences

    async def put_endpoint(self, request: ApiRequest) -> ApiResponse:
        """An address of a user."""
        user, channel, endpoint_id = named_in_path(request, self._rules, "user", "channel", "id")
        body = await request.json()
        document = {**body, "channel": channel} if isinstance(body, dict) and body.get("channel") is None else body
        document = checked_document(document, self._rules, NewEndpoint)
        if document["channel"] != channel:
            raise invalid([FieldError("channel", "is not the one of the address", "leave it out")])
        registered_at, removed = await self._devices.put(user, channel, endpoint_id, document, by=request.caller())
        return json_response(200, EndpointStored(endpoint_id, registered_at, removed))

    async def delete_endpoint(self, request: ApiRequest) -> ApiResponse:
        """An address that is none any more."""
        user, channel, endpoint_id = named_in_path(request, self._rules, "user", "channel", "id")
        await self._devices.remove(user, channel, endpoint_id)
        return _NOTHING

    async def put_user(self, request: ApiRequest) -> ApiResponse:
        """A user's locale and name, as a whole."""
        (user,) = named_in_path(request, self._rules, "user")
        body = await sent_document(request, self._rules, Profile)
        locale, name = body.get("locale"), body.get("name")
        await self._writer.append([profile_record(user, locale, name, self._writer.partitions)])
        return json_response(200, ProfileStored(user, locale, name))

    async def delete_user(self, request: ApiRequest) -> ApiResponse:
        """Erase a user; again, it changes nothing. What could bring something new to him goes first."""
        (user,) = named_in_path(request, self._rules, "user")
        partitions = self._writer.partitions
        await self._preferences.leave(user)
        await self._devices.remove_all(user)
        await self._writer.append([profile_record(user, None, None, partitions)])
        await self._writer.append([erase_record(user, partitions)])
        return _NOTHING

    async def get_endpoints(self, request: ApiRequest) -> ApiResponse:
        """Where a user is reached."""
        (user,) = named_in_path(request, self._rules, "user")
        return json_response(200, await self._devices.listed(user))

    async def post_follows(self, request: ApiRequest) -> ApiResponse:
        """Who follows whom: a JSON array or NDJSON, stored as a whole or not at all."""
        follows = batch_items(await request.body(), request.media_type)
        errors = [error for place, follow in enumerate(follows) for error in self._follow_errors(place, follow)]
        if errors:
            raise invalid(errors)
        partitions = self._writer.partitions
        await self._writer.append(
            [follow_record(each["followee"], each["follower"], each.get("on"), partitions) for each in follows]
        )
        return json_response(200, FollowsStored(len(follows)))

    def _follow_errors(self, place: int, follow: Any) -> list[FieldError]:
        if isinstance(follow, ProblemError):
            return [FieldError(f"[{place}]", "is no JSON", "send one JSON object a line")]
        errors = self._rules.document_errors(follow, Follow)
        return [replace(error, path=f"[{place}].{error.path}".rstrip(".")) for error in errors]
