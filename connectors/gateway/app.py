"""The gateway as an ASGI application: routing, policy, metrics, and the building of everything behind it."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Callable, Sequence
from functools import cache

import structlog

from connectors.campaigns import CampaignDesk
from connectors.console.course import Course
from connectors.console.figures import Figures
from connectors.console.handlers import ConsoleParts
from connectors.console.routes import console_routes
from connectors.gateway import calls
from connectors.gateway.acts import Acts
from connectors.gateway.approval_calls import ApprovalCalls, approval_calls
from connectors.gateway.approvals import Approvals
from connectors.gateway.audiences import DefinedSegments
from connectors.gateway.auth import Principal
from connectors.gateway.backstage import OpenBackstage, Questions
from connectors.gateway.callbacks import Callbacks, callback_calls, receipt_readers
from connectors.gateway.campaign_calls import campaign_calls
from connectors.gateway.campaigns import CampaignCalls
from connectors.gateway.components import Components
from connectors.gateway.cursor import Cursors, cursor_secrets
from connectors.gateway.devices import Devices
from connectors.gateway.docs import Docs
from connectors.gateway.fan_outs import FanOutLimit
from connectors.gateway.feedback import Feedback
from connectors.gateway.follow import Follower
from connectors.gateway.guard import GuardedLimit
from connectors.gateway.host import Host
from connectors.gateway.http import (
    ApiRequest,
    ApiResponse,
    Message,
    Receive,
    Send,
    StreamResponse,
    problem_response,
    send_response,
    send_stream,
)
from connectors.gateway.identifiers import EventIds
from connectors.gateway.inbox_calls import Inbox, ReadableInbox
from connectors.gateway.inbox_stream import InboxStreams
from connectors.gateway.letters import Letters
from connectors.gateway.link_calls import link_calls
from connectors.gateway.link_limits import LinkLimits
from connectors.gateway.many_users import ManyUsers
from connectors.gateway.notifications import Posts
from connectors.gateway.operating import OpsCalls, operating_calls
from connectors.gateway.ops import Probes, Switches
from connectors.gateway.options import GatewayOptions
from connectors.gateway.origins import AnswerHeaders, Origins
from connectors.gateway.parts import Parts
from connectors.gateway.preference_types import TypesCall
from connectors.gateway.preferences import Preferences
from connectors.gateway.preferences_page import PreferencesPage
from connectors.gateway.pressure import Pressure
from connectors.gateway.problems import ProblemError, retry_later
from connectors.gateway.progress import ProgressCalls, ProgressReader
from connectors.gateway.rollouts import BegunRollouts, RolloutCalls
from connectors.gateway.routes import Callers, Route, Router
from connectors.gateway.segments import Segments
from connectors.gateway.sender_limits import SenderDesk, sender_calls
from connectors.gateway.support import Support
from connectors.gateway.template_calls import template_calls
from connectors.gateway.templates import TemplateCalls
from connectors.gateway.types import TypeDesk, type_calls
from connectors.gateway.unsubscribe import Unsubscribe
from connectors.log.interface import Log
from connectors.metric_files import METRICS
from connectors.metrics import GATEWAY_REQUEST_SECONDS, GATEWAY_REQUESTS
from connectors.templates import TemplateDesk
from connectors.types import PublishedTypes
from state.model.admission import AdmissionRules
from state.model.errors import StoreUnavailableError
from state.model.page_link import PageKeys
from state.model.template import TextRules
from state.model.topics import DEAD_LETTERS
from state.model.unsubscribe import LinkKeys

_MONITORING, _ANYWHERE = frozenset(("/metrics", "/docs", "/openapi.json")), frozenset(("/healthz", "/readyz"))
"""What has a port of its own, if there is one, and what answers at both."""
_CHANGES_PREFERENCES = ("putPreferences", "patchPreferences")
_requests = cache(GATEWAY_REQUESTS.labels)
_logger = structlog.get_logger(__name__)


class App:
    """One gateway process's application. `start` and `close` belong to the serving loop."""

    def __init__(
        self, options: GatewayOptions, parts: Parts, routes: Sequence[Route], streams: InboxStreams | None = None
    ) -> None:
        """Serve `routes`, with the long-lived `parts`."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._options, self._parts, self._router, self._streams = options, parts, Router(routes), streams
        self._tasks: list[asyncio.Task[None]] = []
        self._addresses, self._many_users = _link_limits(parts), ManyUsers(parts.clock)
        self._authenticator, self._origins = parts.authenticator, Origins(options.allowed_origins)
        self._seconds = {route.operation: GATEWAY_REQUEST_SECONDS.labels(route.operation) for route in routes}

    async def start(self) -> None:
        """Begin to follow the log; calls that need what is true now are answered once it was read."""
        self._loop = asyncio.get_running_loop()
        self._parts.kept.bind(self._loop)
        self._parts.follower.start()
        self._tasks = [asyncio.create_task(each()) for each in self._parts.background]

    def end_streams(self) -> None:
        """The server is asked to stop; whatever would not end by itself ends. From any thread."""
        if self._streams is not None:
            self._streams.end()
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._parts.ending.set)

    async def close(self) -> None:
        """Wait for admissions under way, then free everything but the log."""
        for task in self._tasks:
            task.cancel()
        if self._streams is not None:
            await asyncio.to_thread(self._streams.close)
        await self._parts.admission.drain()
        await asyncio.to_thread(self._parts.follower.close)
        await asyncio.to_thread(self._parts.watcher.close)
        await asyncio.to_thread(self._parts.appender.close)
        await self._parts.store.close()
        await self._parts.limit.close()
        self._parts.directory.close()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request, or begin and end with the server."""
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "http":
            await self._serve(scope, receive, send)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            kind = (await receive())["type"]
            await (self.start() if kind == "lifespan.startup" else self.close())
            await send({"type": f"{kind}.complete"})
            if kind == "lifespan.shutdown":
                return

    async def _serve(self, scope: Message, receive: Receive, send: Send) -> None:
        begin, operation = time.perf_counter(), "none"
        cross_origin: AnswerHeaders = ()
        request = ApiRequest(scope, receive, body_deadline=self._options.body_deadline)
        try:
            route, request.parameters = self._find(scope, request)
            operation, cross_origin = route.operation, self._origins.headers(route, request)
            answer = await self._answer(route, request)
            if operation in self._seconds:
                self._seconds[operation].observe(time.perf_counter() - begin)
        except ProblemError as problem:
            answer = problem_response(problem)
        except StoreUnavailableError as error:
            _logger.warning("store_unavailable", operation=operation, detail=str(error))
            answer = problem_response(retry_later(503, "what is needed for it cannot be read now", 1000))
        except Exception:
            _logger.exception("request_failed", operation=operation)
            answer = problem_response(ProblemError(500, "an error of ours; it was logged"))
        _requests(operation, str(answer.status)).inc()
        if cross_origin:
            answer = answer._replace(headers=(*answer.headers, *cross_origin))
        if isinstance(answer, StreamResponse):
            await send_stream(send, receive, answer)
            return
        await send_response(send, answer, head_only=scope["method"] == "HEAD")

    async def _answer(self, route: Route, request: ApiRequest) -> ApiResponse | StreamResponse:
        if route.callers is not Callers.PUBLIC:
            principal = self._recognise(route, request)
            if not route.allows(principal):
                raise ProblemError(403, route.refusal(principal))
            if route.changes_as_user:
                if self._options.serving.proxies:  # else all may come from one
                    self._addresses.take_address(request.client())
                    if route.operation in _CHANGES_PREFERENCES:
                        self._many_users.changes(request.client(), principal.name)
                self._parts.user_limit.take(principal.name)
            request.principal = principal
        request.media_type = route.media_type(request.header(b"content-type"))
        if route.needs_directory and not self._parts.follower.caught_up:
            if route.meanwhile is not None and "text/html" in (request.header(b"accept") or ""):
                return await route.meanwhile(request)
            raise ProblemError(503, "starting: what is true now is still being read", headers=(("retry-after", "1"),))
        return await route.handler(request)

    def _find(self, scope: Message, request: ApiRequest) -> tuple[Route, dict[str, str]]:
        self._check_listener(scope)
        if scope["method"] == "OPTIONS" and (asked := self._origins.asked_method(request)):
            route, _ = self._router.find(asked, scope["path"], scope["raw_path"])
            if route.callers is Callers.USER:
                return self._origins.preflight(route), {}
        return self._router.find(scope["method"], scope["path"], scope["raw_path"])

    def _check_listener(self, scope: Message) -> None:
        """:raises ProblemError: 404: not at this port."""
        port, path = self._options.monitor_port(), scope["path"]
        if port and path not in _ANYWHERE and (scope["server"][1] == port) != (path in _MONITORING):
            raise ProblemError(404, "this address does not exist")

    def _recognise(self, route: Route, request: ApiRequest) -> Principal:
        authorization, tickets = request.header(b"authorization"), self._parts.tickets
        ticket = request.take_query("ticket") if route.by_ticket else None
        if ticket is None or authorization is not None or tickets is None:
            return self._authenticator.recognise(authorization)
        return Principal(None, tickets.user(ticket))


def build_app(
    options: GatewayOptions,
    *,
    log: Log,
    rules: AdmissionRules,
    clock: Callable[[], int],
    inbox: ReadableInbox | None = None,
    progress: ProgressReader | None = None,
    backstage: OpenBackstage | None = None,
    texts: TextRules | None = None,
    types: PublishedTypes | None = None,
) -> App:
    """Build the application of one process.

    `log` stays the caller's to close, after the application. `clock` gives milliseconds since 1970 in UTC. Without
    `inbox` the inbox calls do not exist, without `progress` no outcome is counted, without `backstage` nobody is told
    why, and without it, `texts` or `types` there is no console, and nobody changes types or what notifications say.

    :raises StateError: a store cannot be opened.
    """
    parts, desk = Parts(options, log, rules, clock), CampaignDesk(log, clock=clock)
    rollouts = BegunRollouts(parts.store, desk, clock)
    routes = calls.producer_calls(
        _posts(parts, rollouts),
        ProgressCalls(rollouts.find, progress, rollouts.progress, clock=clock),
        RolloutCalls(rollouts, desk, parts.kept, rules),
    )
    pages: list[Route] = []
    streams, of_others, checks = None, None, dict[str, Callable[[], bool]]()
    if options.kind == "ordinary":
        ordinary, of_others = _ordinary(parts, inbox), options.directory / METRICS
        streams = ordinary.streams
        routes += [*calls.host_calls(ordinary), *calls.user_calls(ordinary), *calls.ops_calls(ordinary.switches)]
        routes += approval_calls(ApprovalCalls(rules, ordinary.approvals))
        routes += [*link_calls(ordinary.unsubscribe, ordinary.page), *callback_calls(ordinary.callbacks)]
        if backstage is not None:
            questions = Questions(backstage)
            spool, accounts = options.store_directory() / "spool", options.openid is not None
            campaigns = CampaignCalls(rules, desk, parts.directory, questions, spool=spool, accounts=accounts)
            routes += [
                *calls.support_calls(Support(questions, ordinary.acts, ordinary.devices)),
                *campaign_calls(campaigns),
            ]
            if types is not None and texts is not None:
                console = _console(parts, ordinary, questions, campaigns, types, texts, desk)
                routes += operating_calls(OpsCalls(rules, console.letters, Figures(of_others).read))
                routes += type_calls(console.registry)
                routes += [*sender_calls(console.sender_limits), *template_calls(console.texts)]
                pages = console_routes(console)
                checks["pages"] = _pages_checked(parts.follower, questions)
        routes += calls.component_calls(Components())
    health = Probes({"log_read": lambda: parts.follower.caught_up, **checks}, of_others)
    routes += calls.monitor_calls(health, Docs(routes, rules.served))
    return App(options, parts, [*routes, *pages], streams)


def _pages_checked(follower: Follower, questions: Questions) -> Callable[[], bool]:
    """Whether what the console's pages need was loaded, if at the start somebody who signed in before may come. Then it
    stays so: whoever signs in first later makes no gateway unready.
    """
    checked = False

    def check() -> bool:
        nonlocal checked
        checked = checked or (follower.caught_up and not questions.is_loading)
        return checked

    return check


def _posts(parts: Parts, rollouts: BegunRollouts) -> Posts:
    options, clock = parts.options, parts.clock
    return Posts(
        parts.rules,
        parts.admission,
        GuardedLimit(parts.limit, fallback_limit_per_s=options.fallback_limit_per_s, granted=parts.limits.of),
        parts.door,
        DefinedSegments(parts.log, parts.directory) if options.kind == "ordinary" else None,
        Pressure(parts.watcher.load, parts.admission.half_full, uniform=random.uniform),
        FanOutLimit(options.fan_outs_per_h, clock=clock),
        rollouts.repeat,
        kind=options.kind,
        clock=clock,
        new_event_id=EventIds(os.urandom),
    )


def _ordinary(parts: Parts, inbox: ReadableInbox | None) -> calls.OrdinaryHandlers:
    options, log, rules, clock, writer = parts.options, parts.log, parts.rules, parts.clock, parts.writer
    acts = Acts(writer, log, clock=clock)
    accounts = options.openid is not None
    approvals = Approvals(acts, log, accounts=accounts)
    parts.background.append(approvals.run)
    devices = Devices(rules, writer, parts.directory, acts, devices_max=options.devices_max, clock=clock)
    preferences, limits = Preferences(rules, writer, parts.directory), _link_limits(parts)
    page_keys, url = PageKeys(options.link_keys), options.public_url
    rows = None if inbox is None else _inbox(parts, inbox)
    streams_max = options.serving.connections_max // 2
    return calls.OrdinaryHandlers(
        host=Host(rules, writer, devices, preferences),
        segments=Segments(rules, log, log.partitions, spool=options.store_directory() / "spool", clock=clock),
        inbox=rows,
        tickets=parts.tickets,
        streams=None if rows is None else InboxStreams(log, rows.page, streams_max=streams_max),
        feedback=None if inbox is None else Feedback(rules, writer, inbox.reader, clock=clock),
        callbacks=Callbacks(receipt_readers(options.callbacks, clock), options, rules, writer, preferences, clock),
        preferences=preferences,
        devices=devices,
        switches=Switches(
            rules,
            writer,
            parts.watcher,
            log,
            senders=options.keys,
            accounts=accounts,
            acts=acts,
            approvals=approvals,
        ),
        acts=acts,
        approvals=approvals,
        unsubscribe=Unsubscribe(rules, LinkKeys(options.link_keys), preferences, limits, clock=clock),
        types=TypesCall(rules, preferences),
        page=PreferencesPage(rules, page_keys, preferences, devices, limits, origin=url, clock=clock),
    )


def _link_limits(parts: Parts) -> LinkLimits:
    return LinkLimits(parts.clock, address_calls_per_s=parts.options.serving.address_calls_per_s)


def _inbox(parts: Parts, inbox: ReadableInbox) -> Inbox:
    options = parts.options
    cursor_key = options.store_directory() / "cursor.key"
    cursors = Cursors(cursor_secrets(cursor_key, options.secret_of_all, options.secret_of_all_before))
    return Inbox(
        parts.rules, parts.writer, inbox.reader, parts.overlay, cursors, row_text=inbox.row_text, clock=parts.clock
    )  # fmt: skip


def _console(
    parts: Parts,
    ordinary: calls.OrdinaryHandlers,
    questions: Questions,
    campaigns: CampaignCalls,
    types: PublishedTypes,
    texts: TextRules,
    desk: CampaignDesk,
) -> ConsoleParts:
    rules, acts, approvals, clock = parts.rules, ordinary.acts, ordinary.approvals, parts.clock
    course = Course(parts.options.directory / METRICS, clock)
    parts.background.append(course.run)
    drafts = TemplateDesk(parts.log, clock=clock)
    return ConsoleParts(
        gateway=parts,
        calls=ordinary,
        questions=questions,
        letters=Letters(questions, approvals, rules.profile, parts.log.partitions(DEAD_LETTERS)),
        campaigns=campaigns,
        course=course,
        registry=TypeDesk(rules, types, parts.writer, acts, approvals, questions),
        texts=TemplateCalls(rules, texts, drafts, questions, desk, approvals),
        sender_limits=SenderDesk(rules, parts.limits, parts.options.keys, parts.writer, acts, approvals),
        limits=_link_limits(parts),
    )
