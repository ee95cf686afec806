"""What the subcommands of `carillon` share: options, the settings in force, the log of a system that is there.

Everything else is imported when a command runs: the command line starts quickly.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from typer.core import TyperGroup

from state.model.errors import ConfigurationError

if TYPE_CHECKING:
    from connectors.log.interface import Log
    from flows.config.settings import Settings
    from state.model.registry import Registry


_CALENDAR_END_MS = 253_402_300_799_999
"""The end of the year 9999. Micro- and nanoseconds of our time are beyond it."""


def named(value: str | None) -> str | None:
    """An option that names something: a name that was forgotten in a script must not look like none at all."""
    if value == "":
        raise typer.BadParameter("is empty; name one, or leave it out")
    return value


class CommandGroup(TyperGroup):
    """Commands of one name. An option of theirs that stands before them is refused with the place where it belongs."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """See click."""
        option = args[0].partition("=")[0] if args else ""
        known = {name for command in self.commands.values() for param in command.params for name in param.opts}
        if option in known.difference(*(param.opts for param in self.get_params(ctx))):
            command = next((word for word in args if word in self.commands), "COMMAND")
            ctx.fail(f"{option} belongs behind the command: {ctx.command_path} {command} {option} ...")
        return super().parse_args(ctx, args)


def moment_ms(text: str) -> int:
    """Milliseconds UTC of `2026-11-23T10:00:00Z` (no zone: UTC) or of a plain number of milliseconds."""
    try:
        if text.isdecimal():
            return _within_calendar(int(text))
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        said = f"{text!r} is no time; write 2026-11-23T10:00:00Z or milliseconds since 1970"
        raise typer.BadParameter(said) from error
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)


def _within_calendar(at_ms: int) -> int:
    """:raises ValueError: it is of another unit: such a time would look like one in which nothing happened."""
    if at_ms > _CALENDAR_END_MS:
        raise ValueError
    return at_ms


def in_order(since: int | None, until: int | None) -> None:
    """Refuse a stretch of time that ends before it begins: it would look like one in which nothing happened."""
    if since is not None and until is not None and until <= since:
        raise typer.BadParameter("--to is not later than --from; name a later time")


ProfileName = Literal["embedded", "kafka"]
Json = Annotated[bool, typer.Option("--json", help="One JSON object per line.")]
Data = Annotated[Path | None, typer.Option("--data", metavar="DIR", help="Data directory. Default: carillon-data.")]


def settings_in_force(data: Path | None, profile: ProfileName | None = None, *, reader: bool = False) -> Settings:
    """The settings, and logs that do not disturb the command's answer; `reader` as in `load_settings`."""
    from flows.config.settings import load_settings
    from flows.process.logs import configure_logs

    configure_logs("carillon", level=logging.WARNING)  # standard output is the command's answer
    return load_settings(data_dir=data, profile=profile, reader=reader)


def settings_beside(data: Path | None, *, stopped: bool = True, reader: bool = False) -> Settings:
    """The settings for a command that looks at a system: its log is where `up` put it. `stopped`: also one that was;
    `reader` as in `load_settings`.
    """
    from flows.process.run_files import read_running

    settings = settings_in_force(data, reader=reader)
    running = read_running(settings.data_dir)
    if running is None or not (running.processes or stopped):
        return settings
    return replace(settings, profile=running.profile)


def settings_to_read(data: Path | None) -> Settings:
    """The same for a command that only reads what is stored, where not all packages need be: it says which it lacks."""
    from state.model.registry import load_registry

    settings = settings_beside(data, reader=True)
    tell_absent(load_registry(settings.types, reader=True))
    return settings


def tell_absent(types: Registry) -> None:
    """Say of which channels no package is here."""
    from flows.commands.output import complain

    for channel in types.absent_channels():
        complain(f"no package here adds the channel {channel}, which a type offers: it is read by its name alone")


@contextmanager
def existing_log(settings: Settings) -> Iterator[Log]:
    """The log of a system that was started before: a mistyped directory must not look like an empty system."""
    from flows.process.opening import open_configured_log

    if settings.profile == "embedded" and not (settings.data_dir / "log").exists():
        raise ConfigurationError(
            f"{settings.data_dir} holds no system; name its directory with --data, or begin one: carillon topics create"
        )
    log = open_configured_log(settings)
    try:
        yield log
    finally:
        log.close()
