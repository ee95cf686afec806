"""Kill switches, and what monitors read: health, readiness, metrics. Never content."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import prometheus_client

from connectors.control import TOPIC, ControlWatcher, KnownNames, kill_record
from connectors.gateway import answers
from connectors.gateway.acts import Acts
from connectors.gateway.answers import Readiness, SwitchesInForce, SwitchSet, SwitchStored
from connectors.gateway.approval_calls import told_approval
from connectors.gateway.approvals import Approvals
from connectors.gateway.auth import Principal
from connectors.gateway.bodies import checked_document
from connectors.gateway.http import ApiRequest, ApiResponse, json_response
from connectors.gateway.options import ServiceKey
from connectors.gateway.problems import ProblemError, retry_later
from connectors.gateway.writer import SettingWriter
from connectors.log.interface import Log
from connectors.metric_files import all_metrics
from connectors.providers.provider import PLACES
from state.model.admission import AdmissionRules, FieldError
from state.model.audit import ApprovalRecord, PendingAct
from state.model.documents import KillSwitch
from state.model.errors import LogError
from state.model.registry import TypeProfile
from state.model.settings import KILL, Kill, SwitchOn

_READ_DEADLINE = timedelta(seconds=2)


class Switches:
    """`/v1/ops/kill`: a switch counts for decisions from its place in the log, for sends within seconds."""

    def __init__(
        self,
        rules: AdmissionRules,
        writer: SettingWriter,
        watcher: ControlWatcher,
        log: Log,
        *,
        senders: Sequence[ServiceKey],
        accounts: bool,
        acts: Acts,
        approvals: Approvals,
    ) -> None:
        """Write to `control` through `writer`, and tell what `watcher` read there."""
        self._rules, self._writer, self._watcher, self._log = rules, writer, watcher, log
        self._acts, self._approvals = acts, approvals
        approvals.does("kill", self._confirmed)
        self._senders, self._accounts = senders, accounts

    async def kill(self, request: ApiRequest) -> ApiResponse:
        """Set (`on`, the default) or lift a switch; the answer's offset is what processes report as obeyed."""
        done = await self.set(await request.json(), request.caller())
        if isinstance(done, PendingAct):
            return json_response(202, told_approval(done, self._acts.now_ms()))
        return json_response(200, done)

    async def set(self, body: Any, person: Principal) -> SwitchStored | PendingAct:
        """Set or lift the switch of a document, in the name of a person. One that stops P0 waits for a second person.

        :raises ProblemError: 400; 404: it would stop nothing; 503.
        """
        body = checked_document(body, self._rules, KillSwitch)
        on = body.get("on")
        kill = Kill(body["scope"], body.get("value"), True if on is None else on, body.get("reason"), person.name)
        senders = [key.sender_id for key in self._senders]
        known = KnownNames(self._rules.profile, self._rules.type_names(), senders, self._accounts)
        refusal = None if body.get("force") else known.refusal(kill.scope, kill.value)
        if refusal is not None and kill.switch not in {(each.scope, each.value) for each in await self.in_force()}:
            error = FieldError("value", refusal, "name what exists, or set force for what does not exist yet")
            raise ProblemError(404, "it would stop nothing; nothing was stored", errors=[error])
        about = {"scope": kill.scope, "value": kill.value}
        if kill.on and self._stops_p0(kill):
            return await self._approvals.propose(
                person, "kill", about, reason=kill.reason, before={"on": False}, after={"on": True}
            )
        before, after = {"on": await self._is_on(kill)}, {"on": kill.on}
        noted = self._acts.record(
            person, "kill" if kill.on else "lift", about, reason=kill.reason, before=before, after=after
        )
        _, offset = await self._acts.note(noted, kill_record(kill))
        return SwitchStored(kill.scope, kill.value, kill.on, offset)

    async def _is_on(self, kill: Kill) -> bool:
        """Whether it is set already; what this process knew last where that cannot be read."""
        try:
            found = await self.in_force()
        except ProblemError:
            found = self.on
        return kill.switch in {(each.scope, each.value) for each in found}

    def _stops_p0(self, kill: Kill) -> bool:
        value = kill.value or ""
        match kill.scope:
            case "type":
                return self._rules.profile(value).klass == "P0"
            case "sender" | "door" | "key":
                owners = {owner for profile in self._p0_types() for owner in profile.owners}
                return value in owners or any(key.sender_id == value and key.sends_p0() for key in self._senders)
            case "channel":
                return self._p0_goes_by(value)
            case "drain":
                channel, _ = PLACES.get(value, (None, None))
                return value not in ("P1", "P2") and (channel is None or self._p0_goes_by(channel))
        return kill.scope == "all"

    def _p0_goes_by(self, channel: str) -> bool:
        return any(channel in profile.channels for profile in self._p0_types())

    def _p0_types(self) -> list[TypeProfile]:
        return [each for each in map(self._rules.profile, self._rules.type_names()) if each.klass == "P0"]

    async def _confirmed(self, asked: ApprovalRecord) -> Mapping[str, Any]:
        kill = KILL.of({**asked.about, "reason": asked.reason, "by": asked.by})
        if kill.switch not in {(each.scope, each.value) for each in await self.in_force()}:
            await self._writer.append([kill_record(kill)])
        return {"on": True}

    @property
    def on(self) -> Sequence[SwitchOn]:
        """What this process knows to be set."""
        return self._watcher.on

    @property
    def away(self) -> Sequence[str]:
        """What is passed over now."""
        return self._watcher.away

    async def show(self, _request: ApiRequest) -> ApiResponse:
        """Everything that is set in `control` at this moment."""
        found = [SwitchSet(on.scope, on.value or None, on.since_ms, on.by, on.reason) for on in await self.in_force()]
        return json_response(200, SwitchesInForce(found))

    async def in_force(self) -> Sequence[SwitchOn]:
        """What is set at this moment.

        :raises ProblemError: 503: the topic is not read to its end.
        """
        try:
            read = await asyncio.to_thread(self._read_to_the_end)
        except LogError as error:
            raise retry_later(503, "topic control cannot be read just now; ask again", 1000) from error
        if not read:
            raise retry_later(503, "the switches are still being read", 1000)
        return self._watcher.on

    def _read_to_the_end(self) -> bool:
        return self._watcher.catch_up(self._log.end_offset(TOPIC, 0), _READ_DEADLINE)


class Probes:
    """`/healthz`, `/readyz`, `/metrics`."""

    def __init__(self, checks: Mapping[str, Callable[[], bool]], metric_files: Path | None) -> None:
        """`checks`: what must hold before this process should be given work. `metric_files`: the metrics of others."""
        self._checks, self._metric_files = checks, metric_files

    async def healthz(self, _request: ApiRequest) -> ApiResponse:
        """The process lives and its loop turns."""
        return json_response(200, answers.Health())

    async def readyz(self, _request: ApiRequest) -> ApiResponse:
        """Whether every check holds, by name."""
        results = {name: check() for name, check in self._checks.items()}
        return json_response(200 if all(results.values()) else 503, Readiness(all(results.values()), results))

    async def metrics(self, _request: ApiRequest) -> ApiResponse:
        """Every metric of this process, and of those that write theirs to files, as Prometheus reads them."""
        text = await asyncio.to_thread(all_metrics, self._metric_files)
        return ApiResponse(200, text, (), prometheus_client.CONTENT_TYPE_LATEST)
