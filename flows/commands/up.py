"""`carillon up`: starts the system, says where it is, keeps it running until Ctrl-C or SIGTERM, drains and stops it."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from types import FrameType
from typing import Any

from connectors.providers.provider import PLACES
from flows.commands.output import Output, complain
from flows.config.credentials import ROLES, development_credentials
from flows.config.served import simulated
from flows.config.settings import Settings
from flows.process.logs import configure_logs
from flows.process.run_files import Rebuild
from flows.up.processes import SILENT_FOR, ProcessEvent
from flows.up.supervisor import Supervisor, directory_of

_LOOK = timedelta(milliseconds=100)
_TROUBLES_MAX = 10
_SAME_REQUEST = timedelta(seconds=1)


class _Asked:
    """Whether the person asked to stop; the second time nothing is waited for.

    One request may come as two signals: make and timeout pass on the one that their whole process group got.
    """

    def __init__(self) -> None:
        self._asked_at: float | None = None
        signal.signal(signal.SIGTERM, self._take)
        signal.signal(signal.SIGINT, self._take)
        signal.signal(signal.SIGHUP, self._take)  # the terminal was closed

    def __call__(self) -> bool:
        return self._asked_at is not None

    def _take(self, _signal: int, _frame: FrameType | None) -> None:
        now = time.monotonic()
        if self._asked_at is not None and now - self._asked_at > _SAME_REQUEST.total_seconds():
            os._exit(1)  # children end with their parent (flows.up.launch)
        self._asked_at = self._asked_at or now


def up(settings: Settings, output: Output, *, demo: bool) -> int:
    """Run the system; gives the exit code.

    :raises CarillonError: it does not start.
    """
    asked = _Asked()
    reporter = _Reporter(output, silent=demo and sys.stdout.isatty())
    supervisor = Supervisor(settings, reporter)
    configure_logs("supervisor", file=supervisor.log_file())
    if not output.as_json:
        output.show({}, "Starting, which takes some seconds ...")
    try:
        if supervisor.start(asked):
            _announce(supervisor, output)
            if supervisor.rebuilds:
                said = "The directory state/ is missing: it is rebuilt from the log."
                output.show({"event": "rebuild", "detail": said}, said)
            reporter.open()
            _run(supervisor, reporter, asked, demo=demo)
        if not output.as_json:
            output.show({}, "Draining ...")
    finally:  # also when standard output is gone
        reporter.mute()
        undrained = supervisor.stop()
    if undrained:
        complain(f"{', '.join(undrained)} did not drain; nothing is lost, the next start resumes")
        return 1
    output.show({"event": "stopped"}, "Stopped; nothing is lost, the next start goes on from here.")
    return 0


def _run(supervisor: Supervisor, reporter: _Reporter, asked: Callable[[], bool], *, demo: bool) -> None:
    if demo:
        from flows.demo.run import run_demo

        run_demo(supervisor, reporter.output, reporter.troubles, asked)
        return
    while not asked():
        supervisor.step()
        time.sleep(_LOOK.total_seconds())


class _Reporter:
    """Prints what happens to processes, once the first line is out."""

    def __init__(self, output: Output, *, silent: bool) -> None:
        """`silent`: people see `troubles` in the live view instead."""
        self.output, self._silent, self._is_open = output, silent, False
        self._early: list[ProcessEvent | Rebuild] = []
        self.troubles: list[str] = []
        """What the live view shows of it, since printing would spoil its picture; the last few."""

    def __call__(self, event: ProcessEvent | Rebuild) -> None:
        if self._is_open:
            self._print(event)
        else:
            self._early.append(event)

    def open(self) -> None:
        """Print what has happened so far, and from now on at once."""
        self._is_open = True
        for event in self._early:
            self._print(event)
        self._early.clear()

    def mute(self) -> None:
        """From now on only JSON lines: people have read that it drains."""
        self._silent = True

    def _print(self, event: ProcessEvent | Rebuild) -> None:
        if isinstance(event, Rebuild):
            self._print_rebuild(event)
            return
        record: dict[str, Any] = {"event": event.event, "name": event.name, "pid": event.pid}
        text = f"{event.event:8} {event.name} ({event.pid})"
        if event.event == "exit":
            record["code"] = event.code
            text += f" code {event.code}"
        elif event.event == "hung":
            record["silent_s"] = SILENT_FOR.total_seconds()
            text += f" gave no sign of life for {SILENT_FOR.total_seconds():.0f} s: killed"
        elif event.event == "stalled":
            text += " lives, but its flows stand still: killed"
        if event.event != "start":
            self.troubles.append(text)
            del self.troubles[:-_TROUBLES_MAX]
        if self.output.as_json or not (self._silent or event.event == "start"):
            self.output.show(record, text)

    def _print_rebuild(self, rebuild: Rebuild) -> None:
        """A store that a flow found lost, or left behind by the log, and where its state comes from."""
        if self.output.as_json or not self._silent:
            record = {"event": "rebuild", "name": rebuild.store, "from": rebuild.origin}
            self.output.show(record, f"rebuild  {rebuild.store} from {rebuild.origin}")


def _announce(supervisor: Supervisor, output: Output) -> None:
    settings = supervisor.settings
    record: dict[str, Any] = {
        "url": supervisor.url,
        "p0_url": supervisor.p0_url,
        "console": f"{supervisor.url}/console",
    }
    record["steering_url"] = supervisor.steering_url or None
    if settings.senders:
        record |= {"keys": {}}  # real credentials are printed nowhere
    else:
        credentials = development_credentials(settings.data_dir)
        record |= {"keys": {role: credentials.keys[role] for role in ROLES}}
    development_secret = settings.gateway.user_secret is None
    record["user_secret"] = development_credentials(settings.data_dir).user_secret if development_secret else None
    record["processes"] = [{"name": name, "pid": pid} for name, pid in supervisor.processes().items()]
    table = settings.gateway
    monitor = f"http://{table.monitor_host}:{table.monitor_port}" if table.monitor_port else supervisor.url
    output.show(record, _welcome(record, str(directory_of(settings)), monitor, simulated_line(settings)))


def simulated_line(settings: Settings) -> str:
    """What the simulators stand in for, to be seen beside real providers: its deliveries are DELIVERED, too."""
    names = simulated(settings)
    stand_ins = ", ".join(dict.fromkeys(channel for name, (channel, _) in PLACES.items() if name in names))
    return f"  Simulated {stand_ins}: what goes there reaches nobody\n" if stand_ins else ""


def _welcome(record: dict[str, Any], directory: str, monitor: str, stand_ins: str) -> str:
    key = record["keys"].get("producer", "YOUR_KEY")
    url, command = record["url"], Path(sys.executable).with_name("carillon")
    return f"""\
Carillon is up; everything it knows is in {directory}
  API       {url}/v1     (OpenAPI at {monitor}/openapi.json, metrics at {monitor}/metrics)
  P0 API    {record["p0_url"]}/v1
  Console   {record["console"]}     (sign in with a key of credentials.json, of ops, support or marketing)
{stand_ins}Try it, in another terminal:
  curl -sS {url}/v1/notifications -H 'Authorization: Bearer {key}' -H 'Content-Type: application/json' \\
    -d '{{"type":"mention","actor":"ada","target":"grace","object":"thread1"}}'
  {command} ledger --data {directory} --user grace
Ctrl-C drains and stops."""
