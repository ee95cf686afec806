"""The host application's calls, but for segments: users' addresses, names and locales, who follows whom."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from connectors.gateway.answers import EndpointStored, FollowsStored, ProfileStored
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

    def _named(self, request: ApiRequest, *names: str) -> list[str]:
        """Path parameters that are identifiers.

        :raises ProblemError: 400.
        """
        values = [request.parameters[name] for name in names]
        errors = [error for name, value in zip(names, values, strict=True) for error in self._text(name, value)]
        if errors:
            raise invalid(errors)
        return values

    def _text(self, name: str, value: str) -> list[FieldError]:
        return list(self._rules.text_errors(name, value))

    async def put_endpoint(self, request: ApiRequest) -> ApiResponse:
        """An address of a user."""
        user, channel, endpoint_id = self._named(request, "user", "channel", "id")
        body = await request.json()
        document = {**body, "channel": channel} if isinstance(body, dict) and body.get("channel") is None else body
        errors = self._rules.document_errors(document, NewEndpoint)
        if errors:
            raise invalid(errors)
        if document["channel"] != channel:
            raise invalid([FieldError("channel", "is not the one of the address", "leave it out")])
        registered_at, removed = await self._devices.put(user, channel, endpoint_id, document)
        return json_response(200, EndpointStored(endpoint_id, registered_at, removed))

    async def delete_endpoint(self, request: ApiRequest) -> ApiResponse:
        """An address that is none any more."""
        user, channel, endpoint_id = self._named(request, "user", "channel", "id")
        await self._devices.remove(user, channel, endpoint_id)
        return _NOTHING

    async def put_user(self, request: ApiRequest) -> ApiResponse:
        """A user's locale and name, as a whole."""
        (user,) = self._named(request, "user")
        body = await request.json()
        errors = self._rules.document_errors(body, Profile)
        if errors:
            raise invalid(errors)
        locale, name = body.get("locale"), body.get("name")
        await self._writer.append([profile_record(user, locale, name, self._writer.partitions)])
        return json_response(200, ProfileStored(user, locale, name))

    async def delete_user(self, request: ApiRequest) -> ApiResponse:
        """Erase a user; again, it changes nothing. What could bring something new to him goes first."""
        (user,) = self._named(request, "user")
        partitions = self._writer.partitions
        await self._preferences.leave(user)
        await self._devices.remove_all(user)
        await self._writer.append([profile_record(user, None, None, partitions)])
        await self._writer.append([erase_record(user, partitions)])
        return _NOTHING

    async def get_endpoints(self, request: ApiRequest) -> ApiResponse:
        """Where a user is reached."""
        (user,) = self._named(request, "user")
        return await self._devices.listed(user)

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
