"""The table of calls: who may call what, and which code answers. See `connectors.gateway.routes`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from msgspec import Meta

from connectors.gateway import answers, schemas
from connectors.gateway.acts import Acts
from connectors.gateway.approvals import Approvals
from connectors.gateway.callbacks import Callbacks
from connectors.gateway.components import Components
from connectors.gateway.devices import Devices
from connectors.gateway.docs import Docs
from connectors.gateway.feedback import Feedback
from connectors.gateway.host import Host
from connectors.gateway.inbox_calls import LIMIT_DEFAULT, LIMIT_MAX, Inbox
from connectors.gateway.inbox_stream import InboxStreams
from connectors.gateway.notifications import NDJSON, Posts
from connectors.gateway.ops import Probes, Switches
from connectors.gateway.preference_types import TypesCall
from connectors.gateway.preferences import IF_MATCH, Preferences
from connectors.gateway.preferences_page import PreferencesPage
from connectors.gateway.progress import ProgressCalls
from connectors.gateway.rollouts import RolloutCalls
from connectors.gateway.routes import Callers, Route
from connectors.gateway.segments import Segments
from connectors.gateway.support import PAGE_QUERY, Support
from connectors.gateway.tickets import Tickets
from connectors.gateway.unsubscribe import Unsubscribe
from state.model.campaign_documents import RolloutTurn
from state.model.documents import (
    ArchivedRows,
    Follow,
    KillSwitch,
    MarkedRows,
    NewDevice,
    NewEndpoint,
    NewEvent,
    NewFeedback,
    NewOwnPageLink,
    NewPageLink,
    PreferenceDocument,
    Profile,
    ReadUpTo,
)

PRODUCERS = frozenset(("producer", "p0"))
HOST = frozenset(("producer",))
OPS = frozenset(("ops", "admin"))
SUPPORT = frozenset(("support", "admin"))
_JSON = "application/json"
_MERGE = "application/merge-patch+json"


@dataclass(frozen=True, slots=True)
class OrdinaryHandlers:
    """What only the ordinary gateway answers."""

    host: Host
    segments: Segments
    inbox: Inbox | None
    streams: InboxStreams | None
    tickets: Tickets | None
    feedback: Feedback | None
    callbacks: Callbacks
    preferences: Preferences
    devices: Devices
    switches: Switches
    acts: Acts
    approvals: Approvals
    unsubscribe: Unsubscribe
    page: PreferencesPage
    types: TypesCall


def producer_calls(posts: Posts, progress: ProgressCalls, rollouts: RolloutCalls) -> list[Route]:
    """Posting, progress, cancelling: what both lanes answer."""
    return [
        Route(
            "postNotification", "POST", "/v1/notifications", PRODUCERS, "Send one event",
            'For instance `{"type":"like","actor":"ada","target":"grace","object":"photo1"}`. '
            "202 comes when the event is safe in the log. A repeat of an accepted event is 200 and says of which one, "
            "by what, and for how long; another body under the same idempotency_key is 409. A segment that was never "
            "defined is 404.",
            posts.post, {202: answers.Accepted, 200: answers.Accepted}, (404, 409, 429, 503),
            body={_JSON: NewEvent},
        ),
        Route(
            "postNotifications", "POST", "/v1/notifications/batch", PRODUCERS, "Send many events",
            "A JSON array, or NDJSON, of at most 256 KiB. Each event is judged by itself, and answered in its place.",
            posts.post_batch, {200: schemas.BatchAnswer}, (429, 503),
            body={_JSON: schemas.Batch, NDJSON: schemas.Lines},
        ),
        Route(
            "getNotification", "GET", "/v1/notifications/{event_id}", PRODUCERS, "How far an event is",
            "Of the sender's own events, for 24 hours after acceptance or, if it was kept, after its release.",
            progress.get, {200: answers.EventProgress}, (404, 503),
        ),
        Route(
            "cancelNotification", "DELETE", "/v1/notifications/{event_id}", PRODUCERS, "Cancel an event kept for later",
            "Its event_id and key are free again. 409: it was released already, or never kept. Of an event that goes "
            "in stages, nothing more goes; its event_id and key are not free.",
            rollouts.cancel, {200: answers.Cancelled}, (404, 409, 503), needs_directory=True,
        ),
        Route(
            "turnRollout", "POST", "/v1/notifications/{event_id}/rollout", PRODUCERS, "Pause, resume, advance stages",
            "Of an event that was posted with `rollout`. 409 says why it does not count.",
            rollouts.turn, {200: answers.RolloutProgress}, (404, 409, 503), body={_JSON: RolloutTurn},
        ),
    ]  # fmt: skip


def host_calls(handlers: OrdinaryHandlers) -> list[Route]:
    """What the host application says of its users."""
    host, segments = handlers.host, handlers.segments
    return [
        Route(
            "putEndpoint", "PUT", "/v1/users/{user}/endpoints/{channel}/{id}", HOST, "Set an address of a user",
            "Registered again, it is replaced. A push token that another user had moves to this one.",
            host.put_endpoint, {200: answers.EndpointStored}, body={_JSON: NewEndpoint}, needs_directory=True,
        ),
        Route(
            "deleteEndpoint", "DELETE", "/v1/users/{user}/endpoints/{channel}/{id}", HOST, "Remove an address",
            "Nothing goes there any more.",
            host.delete_endpoint, {204: None}, (404,), needs_directory=True,
        ),
        Route(
            "getEndpoints", "GET", "/v1/users/{user}/endpoints", HOST, "Where a user is reached",
            "His addresses in use, by channel and id. The addresses themselves are never shown.",
            host.get_endpoints, {200: answers.Endpoints}, needs_directory=True,
        ),
        Route(
            "deleteUser", "DELETE", "/v1/users/{user}", HOST, "Erase a user",
            "His addresses, name, locale, inbox and preferences go, and what waits for him ends unsent. What he "
            "unsubscribed from is kept, with everything switched off. Take him out of follows and segments as well.",
            host.delete_user, {204: None}, (503,), needs_directory=True,
        ),
        Route(
            "putUser", "PUT", "/v1/users/{user}", HOST, "Set a user's locale and name",
            "As a whole: what is absent is forgotten. Texts are in the language of the locale, or in English.",
            host.put_user, {200: answers.ProfileStored}, body={_JSON: Profile},
        ),
        Route(
            "postFollows", "POST", "/v1/follows", HOST, "Say who follows whom",
            "A JSON array, or NDJSON, of at most 256 KiB: stored as a whole or not at all.",
            host.post_follows, {200: answers.FollowsStored},
            body={_JSON: list[Follow], NDJSON: schemas.Lines},
        ),
        Route(
            "putSegment", "PUT", "/v1/segments/{segment}", HOST, "Replace the members of a segment",
            "A list of at most 8 MiB, or a file of any length with a column `user`. It counts as a whole, for events "
            "accepted from then on.",
            segments.put, {200: answers.SegmentStored}, body=schemas.SEGMENT_BODIES,
        ),
        Route(
            "linkPreferences", "POST", "/v1/users/{user}/preferences-link", HOST, "Make a link to a user's preferences",
            "Whoever has it sees and changes them on a page, until it ends. Give it to this user only.",
            handlers.page.link, {200: answers.PageLinkMade}, body={_JSON: NewPageLink}, body_required=False,
        ),
    ]  # fmt: skip


def user_calls(handlers: OrdinaryHandlers) -> list[Route]:
    """What users say and see of themselves."""
    preferences, devices, preferences_page = handlers.preferences, handlers.devices, handlers.page
    if_match = {
        "If-Match": Annotated[
            str, Meta(pattern=IF_MATCH, examples=['"1"', "*"], description="ETags of versions, or *.")
        ]
    }
    etag = {"ETag": Annotated[str, Meta(description="Names this version of the document.")]}
    calls = [
        Route(
            "getPreferences", "GET", "/v1/preferences", Callers.USER, "One's preferences",
            "The document as it is stored: what is absent has its default.",
            preferences.get, {200: PreferenceDocument}, needs_directory=True, answer_headers=etag,
        ),
        Route(
            "putPreferences", "PUT", "/v1/preferences", Callers.USER, "Replace one's preferences",
            "Whole documents are stored. With If-Match only the version named is replaced. Without, what a link in "
            "a mail unsubscribed stays so, and a warning says it.",
            preferences.put, {200: answers.PreferencesStored}, (412,), body={_JSON: PreferenceDocument},
            headers=if_match, needs_directory=True, answer_headers=etag,
        ),
        Route(
            "patchPreferences", "PATCH", "/v1/preferences", Callers.USER, "Merge into one's preferences (RFC 7396)",
            "An object of what changes; null removes. What comes out must be valid as a whole.",
            preferences.patch, {200: answers.PreferencesStored}, (412,),
            body={_MERGE: PreferenceDocument, _JSON: PreferenceDocument},
            headers=if_match, needs_directory=True, answer_headers=etag,
        ),
        Route(
            "getPreferenceTypes", "GET", "/v1/preferences/types", Callers.USER, "What one may choose",
            "Types with their titles, and all words of a page of preferences, in English, French or German.",
            handlers.types.get, {200: answers.PreferenceTypes}, needs_directory=True,
            query={"locale": Annotated[str, Meta(description="A language tag. Absent: the browser's.")]},
        ),
        Route(
            "linkOwnPreferences", "POST", "/v1/preferences/link", Callers.USER, "Make a link to one's preferences",
            "A page on which to see and change them, for 15 minutes. No token of the session is in it.",
            preferences_page.own_link, {200: answers.PageLinkMade}, body={_JSON: NewOwnPageLink}, body_required=False,
        ),
        Route(
            "registerDevice", "POST", "/v1/devices/register", Callers.USER, "Register a push token",
            "The device is the session's user's from then on, and nobody else's. The oldest of more than ten goes.",
            devices.register, {200: answers.DeviceStored}, body={_JSON: NewDevice}, needs_directory=True,
        ),
        Route(
            "getDevices", "GET", "/v1/devices", Callers.USER, "Where one is reached",
            "One's addresses in use, on all channels. The addresses themselves are never shown.",
            devices.own, {200: answers.Endpoints}, needs_directory=True,
        ),
        Route(
            "deleteDevice", "DELETE", "/v1/devices/{device_id}", Callers.USER, "Remove a device",
            "Nothing goes there any more.",
            devices.unregister, {204: None}, (404,), needs_directory=True,
        ),
    ]  # fmt: skip
    inbox, streams, tickets, feedback = handlers.inbox, handlers.streams, handlers.tickets, handlers.feedback
    if inbox is None or streams is None or tickets is None or feedback is None:
        return calls
    return [*inbox_calls(inbox, streams, tickets, feedback), *calls]


def inbox_calls(inbox: Inbox, streams: InboxStreams, tickets: Tickets, feedback: Feedback) -> list[Route]:
    """The inbox, where this process has its store to read."""
    query: dict[str, Any] = {
        "limit": Annotated[int, Meta(ge=1, le=LIMIT_MAX, description=f"Rows of a page. Absent: {LIMIT_DEFAULT}.")],
        "cursor": Annotated[str, Meta(description="Of the page before.")],
        "archived": Annotated[bool, Meta(description="Whether to show the archived rows, and these alone.")],
    }
    return [
        Route(
            "getInbox", "GET", "/v1/notifications/inbox", Callers.USER, "A page of one's inbox",
            "Rows newest first, and how many of the whole inbox are unread.",
            inbox.get, {200: answers.InboxPage}, (503,), query=query, needs_directory=True,
        ),
        Route(
            "streamInbox", "GET", "/v1/notifications/inbox/stream", Callers.USER, "One's inbox, live",
            "Server-Sent Events. Each `inbox` event has as its data the newest page as GET gives it, whole, whenever "
            "it differs. With Last-Event-ID, nothing comes before it differs from what that event showed. Ends after "
            "ten minutes, or when the process stops: come back then. 429: too many streams of this user. A browser's "
            "EventSource, which can send no header, comes with a ticket.",
            streams.open, {200: None}, (429, 503), query={"limit": query["limit"]}, needs_directory=True,
            by_ticket=True,
        ),
        Route(
            "getStreamTicket", "POST", "/v1/notifications/inbox/stream/ticket", Callers.USER,
            "A ticket for one's inbox, live",
            "For a minute, `stream?ticket=` opens this user's stream without a header. It does nothing else.",
            tickets.give, {200: answers.StreamTicket},
        ),
        Route(
            "readInbox", "POST", "/v1/notifications/inbox/read", Callers.USER, "Mark one's inbox as read",
            "Up to the position of a page that was shown, or everything, or some rows. The next page shows it.",
            inbox.read, {200: answers.ReadStored}, body={_JSON: ReadUpTo}, body_required=False,
        ),
        Route(
            "unreadInbox", "POST", "/v1/notifications/inbox/unread", Callers.USER, "Mark rows as unread",
            "Archived ones are back in the inbox then. What comes later does not join such a row.",
            inbox.unread, {200: answers.RowsMarked}, body={_JSON: MarkedRows},
        ),
        Route(
            "archiveInbox", "POST", "/v1/notifications/inbox/archive", Callers.USER, "Put rows away",
            "Some, or all that are read. They are read then, and neither shown nor counted but with `archived=true`.",
            inbox.archive, {200: answers.RowsMarked}, body={_JSON: ArchivedRows}, body_required=False,
        ),
        Route(
            "postFeedback", "POST", "/v1/notifications/feedback", Callers.USER, "Say what one did with a notification",
            "That it was opened, followed or put away, each once for an event and a channel. 404: the event is in "
            "none of one's inbox rows.",
            feedback.post, {200: answers.FeedbackStored}, (404, 503), body={_JSON: NewFeedback},
        ),
    ]  # fmt: skip


def ops_calls(switches: Switches) -> list[Route]:
    """Kill switches."""
    return [
        Route(
            "setKillSwitch", "POST", "/v1/ops/kill", OPS, "Set or lift a kill switch",
            "Decisions obey from its place in the log on, sends within seconds. Scope door closes a sender's door, "
            "scope key revokes his keys and sessions. 202: it would stop P0, and waits for a second person.",
            switches.kill, {200: answers.SwitchStored, 202: answers.Approval}, (404, 503), body={_JSON: KillSwitch},
        ),
        Route(
            "getKillSwitches", "GET", "/v1/ops/kill", OPS, "Which kill switches and doors are set",
            "Each since when, by whom and why.",
            switches.show, {200: answers.SwitchesInForce}, (503,),
        ),
    ]  # fmt: skip


def support_calls(support: Support) -> list[Route]:
    """Why somebody got something or did not, and who looked."""
    reason = {"reason": Annotated[str, Meta(max_length=500, description="Why you look. It is noted with your name.")]}
    pair: dict[str, Any] = {"event": Annotated[str, Meta(description="event_id")], "user": str, **reason}
    return [
        Route(
            "explain", "GET", "/v1/explain", SUPPORT, "Why a user got an event, or did not",
            "Every record of the pair, with the values that the decision used. No content. The look is noted in "
            "topic `audit`.",
            support.explain, {200: answers.Explanation}, (404, 503), query=pair,
        ),
        Route(
            "getHistory", "GET", "/v1/support/users/{user}/history", SUPPORT, "What became of a user's notifications",
            "Decisions and deliveries, the newest first. No content. The look is noted in topic `audit`.",
            support.history, {200: answers.History}, (503,), query={**reason, **PAGE_QUERY},
        ),
        Route(
            "getKnownUser", "GET", "/v1/support/users/{user}", SUPPORT, "Where a user is reached, and his segments",
            "Addresses are never shown. One that a provider or a mail ended is among `retired`, with the cause. "
            "Where segments have millions of members, it takes seconds. The look is noted in topic `audit`.",
            support.user, {200: answers.KnownUser}, (503,), query=reason, needs_directory=True,
        ),
        Route(
            "getAudit", "GET", "/v1/audit", OPS, "Who did what",
            "Kill switches, look-ups, dead letters: every act of a person, the newest first.",
            support.audit, {200: answers.AuditPage}, (503,),
            query={**PAGE_QUERY, "by": Annotated[str, Meta(description="Whose acts.")],
                   "user": Annotated[str, Meta(description="About whom.")]},
        ),
    ]  # fmt: skip


def component_calls(components: Components) -> list[Route]:
    """Files for pages of the host application; they are the same for everybody."""
    return [
        Route(
            "getComponents", "GET", "/components/index.json", Callers.PUBLIC, "Files for pages",
            "Each with the path that names its contents, and its hash.",
            components.index, {200: dict[str, answers.ComponentFile]},
        ),
        Route(
            "getComponent", "GET", "/components/{file}", Callers.PUBLIC, "A file for pages",
            "`carillon-inbox.js`, `carillon-preferences.js`: web components; `carillon-worker.js`: the worker of Web "
            "Push. 304 for If-None-Match.",
            components.get, {200: None, 304: None}, (404,),
        ),
    ]  # fmt: skip


def monitor_calls(health: Probes, docs: Docs) -> list[Route]:
    """The explicit list of what needs no credential."""
    public = Callers.PUBLIC
    return [
        Route(
            "getHealth", "GET", "/healthz", public, "Alive", "The process lives.",
            health.healthz, {200: answers.Health},
        ),
        Route(
            "getReadiness", "GET", "/readyz", public, "Fit for work", "Whether every check holds, by name.",
            health.readyz, {200: answers.Readiness, 503: answers.Readiness},
        ),
        Route(
            "getMetrics", "GET", "/metrics", public, "Metrics",
            "Every metric as Prometheus reads it; those of flows have the label `process`.",
            health.metrics, {200: None},
        ),
        Route(
            "getOpenApi", "GET", "/openapi.json", public, "This document", "OpenAPI 3.1.",
            docs.document, {200: dict[str, Any]},
        ),
        Route(
            "getDocs", "GET", "/docs", public, "This document for people", "A page of all calls, with examples.",
            docs.page, {200: None},
        ),
    ]  # fmt: skip
