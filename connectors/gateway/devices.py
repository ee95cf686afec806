"""Addresses of users: registered, replaced, moved, removed.

Laws: a user has at most ten push devices, the oldest goes (RULES 4); a push token belongs to one user: registered by
another it moves, in the same append, and is never shared. Removing writes the endpoint with state `invalid` and
without its address, so that its user stays named by a record.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import xxhash
from msgspec import UNSET

from connectors.gateway.acts import Acts
from connectors.gateway.answers import DeviceStored, EndpointEntry, Endpoints, RetiredEntry
from connectors.gateway.auth import Principal
from connectors.gateway.bodies import sent_document
from connectors.gateway.directory import ActiveEndpoint, Directory, address_hash
from connectors.gateway.http import ApiRequest, ApiResponse, json_response
from connectors.gateway.problems import ProblemError
from connectors.gateway.records import endpoint_record
from connectors.gateway.writer import SettingWriter
from connectors.log.interface import NewRecord
from connectors.metrics import NEW_ADDRESSES
from state.model.admission import AdmissionRules
from state.model.audit import AuditRecord
from state.model.documents import NewDevice
from state.model.subscriptions import address_text

_STRIPES = 64
_PUSH = "push"


class Devices:
    """Writes endpoints, for users and for the host application."""

    def __init__(
        self,
        rules: AdmissionRules,
        writer: SettingWriter,
        directory: Directory,
        acts: Acts,
        *,
        devices_max: int,
        clock: Callable[[], int],
    ) -> None:
        """`clock` in milliseconds since 1970 stamps registrations; a push token that moves is one of `acts`."""
        self._acts = acts
        self._rules, self._writer, self._directory, self._clock = rules, writer, directory, clock
        self._devices_max = devices_max
        self._locks = [asyncio.Lock() for _ in range(_STRIPES)]

    async def register(self, request: ApiRequest) -> ApiResponse:
        """`POST /v1/devices/register`: a push token of the session's user."""
        body = await sent_document(request, self._rules, NewDevice)
        endpoint = {"platform": body["platform"], "address": body["token"]}
        caller = request.caller()
        registered_at, removed = await self.put(caller.name, _PUSH, body["device_id"], endpoint, by=caller)
        return json_response(200, DeviceStored(body["device_id"], registered_at, removed))

    async def unregister(self, request: ApiRequest) -> ApiResponse:
        """`DELETE /v1/devices/{device_id}`: of the session's user; another's is not found."""
        await self.remove(request.caller().name, _PUSH, request.parameters["device_id"])
        return ApiResponse(204, b"")

    async def put(
        self, user: str, channel: str, endpoint_id: str, endpoint: dict[str, Any], *, by: Principal
    ) -> tuple[int, list[str]]:
        """Store an endpoint; gives its registered_at and the ids of the user's devices that had to go.

        Its address is stored in canonical form, so that a phone is known however its token is spelled. That a push
        token was another user's is noted with it, whoever did it.
        """
        platform, address = endpoint.get("platform"), address_text(endpoint["address"])
        address = self._rules.canonical_address(channel, platform, address) or address
        endpoint = {**endpoint, "platform": platform and platform.lower(), "address": address}
        async with self._locked(user, endpoint["address"]):
            now_ms = self._clock()
            first = await asyncio.to_thread(self._directory.first_registered, user, channel, endpoint_id, address)
            new = endpoint_record(user, channel, endpoint_id, endpoint, now_ms, self._writer.partitions, first)
            moved, surplus = await asyncio.to_thread(self._displaced, user, channel, endpoint_id, endpoint)
            records = [*map(self._gone, moved), *map(self._gone, surplus), new]
            loser = next((device.user for device in moved if device.user != user), None)
            if loser is None:
                await self._writer.append(records)
            else:
                await self._acts.note(self._move(by, loser, user), *records)
        if first is None and endpoint.get("state") != "invalid":
            NEW_ADDRESSES.labels(channel, "registered").inc()
        return now_ms, [device.id for device in surplus]

    def _move(self, by: Principal, loser: str, user: str) -> AuditRecord:
        """From whom to whom a push token went; users are named by a hash, also where one of them did it."""
        about = {"from_user": _hashed(loser), "to_user": _hashed(user)}
        person = by if by.role is not None else by._replace(name=_hashed(by.name))
        return self._acts.record(person, "device_moved", about)

    def _displaced(
        self, user: str, channel: str, endpoint_id: str, endpoint: dict[str, Any]
    ) -> tuple[list[ActiveEndpoint], list[ActiveEndpoint]]:
        """Who loses this push token, and which of the user's devices exceed the limit."""
        if channel != _PUSH or endpoint.get("state") == "invalid":
            return [], []
        owners = self._directory.owners(channel, endpoint["address"])
        moved = [device for device in owners if (device.user, device.id) != (user, endpoint_id)]
        own = [device for device in self._directory.devices(user, channel) if device.id != endpoint_id]
        own = [device for device in own if device not in moved]
        return moved, own[: max(0, len(own) + 1 - self._devices_max)]

    def _gone(self, device: ActiveEndpoint) -> NewRecord:
        endpoint = {"platform": device.platform, "state": "invalid"}
        return endpoint_record(device.user, device.channel, device.id, endpoint, self._clock(), self._writer.partitions)

    async def remove(self, user: str, channel: str, endpoint_id: str) -> None:
        """:raises ProblemError: 404 if the user has no such active endpoint."""
        async with self._locked(user, ""):
            device = await asyncio.to_thread(self._directory.device, user, channel, endpoint_id)
            if device is None:
                raise ProblemError(404, "no such endpoint of this user")
            await self._writer.append([self._gone(device)])

    async def remove_all(self, user: str) -> None:
        """Remove every address of a user, on all channels; also those that a provider or a bounce called gone."""
        async with self._locked(user, ""):
            found = await asyncio.to_thread(self._directory.addresses, user)
            await self._writer.append([self._gone(device) for device in found])

    async def listed(self, user: str) -> Endpoints:
        """Every active address of a user, without the address itself, and those that a verdict ended."""
        found = await self.active(user)
        retired = await asyncio.to_thread(self._directory.retired, user)
        ended = [RetiredEntry(each.channel, each.id, each.platform, each.registered_at, why) for each, why in retired]
        active = [EndpointEntry(each.channel, each.id, each.platform, each.registered_at) for each in found]
        return Endpoints(active, ended or UNSET)

    async def active(self, user: str) -> list[ActiveEndpoint]:
        """A user's addresses in use."""
        return await asyncio.to_thread(self._directory.devices, user)

    async def own(self, request: ApiRequest) -> ApiResponse:
        """`GET /v1/devices`: of the session's user."""
        return json_response(200, await self.listed(request.caller().name))

    @asynccontextmanager
    async def _locked(self, user: str, address: str) -> AsyncIterator[None]:
        """One writer at a time per user and per address; always in the same order, so that none waits for ever."""
        stripes = sorted({xxhash.xxh3_64_intdigest(name.encode()) % _STRIPES for name in ("u" + user, "a" + address)})
        async with self._locks[stripes[0]]:
            if len(stripes) == 1:
                yield
            else:
                async with self._locks[stripes[1]]:
                    yield


def _hashed(user: str) -> str:
    return address_hash(user).hex()[:16]
