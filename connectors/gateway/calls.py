"""The table of calls: who may call what, and which code answers. See `connectors.gateway.routes`."""

from __future__ import annotations

from dataclasses import dataclass

from connectors.gateway import schemas
from connectors.gateway.devices import Devices
from connectors.gateway.host import Host
from connectors.gateway.inbox_calls import LIMIT_DEFAULT, LIMIT_MAX, Inbox
from connectors.gateway.notifications import NDJSON, Kept, Posts, Progress
from connectors.gateway.ops import Health, Switches
from connectors.gateway.preferences import IF_MATCH, Preferences
from connectors.gateway.routes import Callers, Handler, Route
from connectors.gateway.segments import MEDIA_TYPES, Segments

PRODUCERS = frozenset(("producer", "p0"))
HOST = frozenset(("producer",))
OPS = frozenset(("ops",))
_JSON = "application/json"
_TEXT_LINES = {"type": "string"}


@dataclass(frozen=True, slots=True)
class ProducerHandlers:
    """What both lanes answer."""

    posts: Posts
    progress: Progress
    kept: Kept


@dataclass(frozen=True, slots=True)
class OrdinaryHandlers:
    """What only the ordinary lane answers."""

    host: Host
    segments: Segments
    inbox: Inbox | None
    preferences: Preferences
    devices: Devices
    switches: Switches


def producer_calls(handlers: ProducerHandlers) -> list[Route]:
    """Posting, progress, cancelling."""
    limited = (409, 429, 503)
    return [
        Route(
            "postNotification", "POST", "/v1/notifications", PRODUCERS, "Send one event",
            handlers.posts.post, {202: schemas.ACCEPTED, 200: schemas.ACCEPTED}, limited,
            body={_JSON: schemas.EVENT},
        ),
        Route(
            "postNotifications", "POST", "/v1/notifications/batch", PRODUCERS, "Send many events",
            handlers.posts.post_batch, {200: schemas.BATCH_ANSWER}, (429, 503),
            body={_JSON: schemas.list_of(schemas.EVENT), NDJSON: _TEXT_LINES},
        ),
        Route(
            "getNotification", "GET", "/v1/notifications/{event_id}", PRODUCERS, "How far an event is",
            handlers.progress.get, {200: schemas.PROGRESS}, (404, 503),
        ),
        Route(
            "cancelNotification", "DELETE", "/v1/notifications/{event_id}", PRODUCERS, "Cancel an event kept for later",
            handlers.kept.cancel, {200: schemas.ACCEPTED}, (404, 409, 503), needs_directory=True,
        ),
    ]  # fmt: skip


def host_calls(host: Host, segments: Segments) -> list[Route]:
    """What the host application says of its users."""
    files = {name: _TEXT_LINES for name in MEDIA_TYPES if name != _JSON}
    return [
        Route(
            "putEndpoint", "PUT", "/v1/users/{user}/endpoints/{channel}/{id}", HOST, "Set an address of a user",
            host.put_endpoint, {200: schemas.REGISTERED}, body={_JSON: schemas.ENDPOINT}, needs_directory=True,
        ),
        Route(
            "deleteEndpoint", "DELETE", "/v1/users/{user}/endpoints/{channel}/{id}", HOST, "Remove an address",
            host.delete_endpoint, {204: None}, (404,), needs_directory=True,
        ),
        Route(
            "putUser", "PUT", "/v1/users/{user}", HOST, "Set a user's locale and name",
            host.put_user, {200: schemas.PROFILE_ANSWER}, body={_JSON: schemas.PROFILE},
        ),
        Route(
            "postFollows", "POST", "/v1/follows", HOST, "Say who follows whom",
            host.post_follows, {200: schemas.STORED},
            body={_JSON: schemas.list_of(schemas.FOLLOW), NDJSON: _TEXT_LINES},
        ),
        Route(
            "putSegment", "PUT", "/v1/segments/{segment}", HOST, "Replace the members of a segment",
            segments.put, {200: schemas.SEGMENT_ANSWER}, body={_JSON: schemas.SEGMENT_LIST, **files},
        ),
    ]  # fmt: skip


def user_calls(handlers: OrdinaryHandlers) -> list[Route]:
    """What users say and see of themselves."""
    preferences, devices = handlers.preferences, handlers.devices
    if_match = {"If-Match": {"type": "string", "pattern": IF_MATCH}}
    calls = [
        Route(
            "getPreferences", "GET", "/v1/preferences", Callers.USER, "One's preferences",
            preferences.get, {200: schemas.PREFERENCES}, needs_directory=True,
        ),
        Route(
            "putPreferences", "PUT", "/v1/preferences", Callers.USER, "Replace one's preferences",
            preferences.put, {200: schemas.PREFERENCES}, (412,), body={_JSON: schemas.PREFERENCES},
            headers=if_match, needs_directory=True,
        ),
        Route(
            "patchPreferences", "PATCH", "/v1/preferences", Callers.USER, "Merge into one's preferences (RFC 7396)",
            preferences.patch, {200: schemas.PREFERENCES}, (412,),
            body={"application/merge-patch+json": {"type": "object"}, _JSON: {"type": "object"}},
            headers=if_match, needs_directory=True,
        ),
        Route(
            "registerDevice", "POST", "/v1/devices/register", Callers.USER, "Register a push token",
            devices.register, {200: schemas.DEVICE_ANSWER}, body={_JSON: schemas.DEVICE}, needs_directory=True,
        ),
        Route(
            "deleteDevice", "DELETE", "/v1/devices/{device_id}", Callers.USER, "Remove a device",
            devices.unregister, {204: None}, (404,), needs_directory=True,
        ),
    ]  # fmt: skip
    return calls if handlers.inbox is None else [*inbox_calls(handlers.inbox), *calls]


def inbox_calls(inbox: Inbox) -> list[Route]:
    """The inbox, where this process has its store to read."""
    limit = {"type": "integer", "minimum": 1, "maximum": LIMIT_MAX, "default": LIMIT_DEFAULT}
    return [
        Route(
            "getInbox", "GET", "/v1/notifications/inbox", Callers.USER, "A page of one's inbox",
            inbox.get, {200: schemas.INBOX_PAGE}, (503,), query={"limit": limit, "cursor": {"type": "string"}},
            needs_directory=True,
        ),
        Route(
            "readInbox", "POST", "/v1/notifications/inbox/read", Callers.USER, "Mark one's inbox as read",
            inbox.read, {200: schemas.READ}, body={_JSON: schemas.READ}, body_required=False,
        ),
    ]  # fmt: skip


def ops_calls(switches: Switches) -> list[Route]:
    """Kill switches."""
    return [
        Route(
            "setKillSwitch", "POST", "/v1/ops/kill", OPS, "Set or lift a kill switch",
            switches.kill, {200: schemas.KILL_ANSWER}, body={_JSON: schemas.KILL},
        )
    ]  # fmt: skip


def monitor_calls(health: Health, openapi: Handler) -> list[Route]:
    """The explicit list of what needs no credential."""
    public = Callers.PUBLIC
    return [
        Route("getHealth", "GET", "/healthz", public, "Alive", health.healthz, {200: schemas.HEALTH}),
        Route(
            "getReadiness", "GET", "/readyz", public, "Fit for work",
            health.readyz, {200: schemas.READY, 503: schemas.READY},
        ),
        Route("getMetrics", "GET", "/metrics", public, "Prometheus metrics", health.metrics, {200: None}),
        Route("getOpenApi", "GET", "/openapi.json", public, "This document", openapi, {200: {"type": "object"}}),
    ]  # fmt: skip
