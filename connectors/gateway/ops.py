"""Kill switches, and what monitors read: health, readiness, metrics. Never content."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import prometheus_client

from connectors.control import kill_record
from connectors.gateway import answers
from connectors.gateway.answers import Readiness, SwitchStored
from connectors.gateway.http import ApiRequest, ApiResponse, json_response
from connectors.gateway.problems import invalid
from connectors.gateway.writer import SettingWriter
from state.model.admission import AdmissionRules
from state.model.documents import KillSwitch
from state.model.settings import Kill


class Switches:
    """`POST /v1/ops/kill`: the switch counts for decisions from its place in the log, for sends within seconds."""

    def __init__(self, rules: AdmissionRules, writer: SettingWriter, *, body_bytes_max: int) -> None:
        """Write to `control` through `writer`."""
        self._rules, self._writer, self._bytes_max = rules, writer, body_bytes_max

    async def kill(self, request: ApiRequest) -> ApiResponse:
        """Set (`on`, the default) or lift a switch; the answer's offset is what processes report as obeyed."""
        body = await request.json(self._bytes_max)
        errors = self._rules.document_errors(body, KillSwitch)
        if errors:
            raise invalid(errors)
        on = body.get("on")
        kill = Kill(body["scope"], body.get("value"), True if on is None else on, body.get("reason"))
        offsets = await self._writer.append([kill_record(kill)])
        return json_response(200, SwitchStored(kill.scope, kill.value, kill.on, offsets[0]))


class Probes:
    """`/healthz`, `/readyz`, `/metrics`."""

    def __init__(self, checks: Mapping[str, Callable[[], bool]]) -> None:
        """`checks`: what must hold before this process should be given work."""
        self._checks = checks

    async def healthz(self, _request: ApiRequest) -> ApiResponse:
        """The process lives and its loop turns."""
        return json_response(200, answers.Health())

    async def readyz(self, _request: ApiRequest) -> ApiResponse:
        """Whether every check holds, by name."""
        results = {name: check() for name, check in self._checks.items()}
        return json_response(200 if all(results.values()) else 503, Readiness(all(results.values()), results))

    async def metrics(self, _request: ApiRequest) -> ApiResponse:
        """Every metric of this process, as Prometheus reads them."""
        return ApiResponse(200, prometheus_client.generate_latest(), (), prometheus_client.CONTENT_TYPE_LATEST)
