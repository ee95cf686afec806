"""`carillon types`: what types may do, as `/v1/types` shows, tries and publishes it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from flows.commands.output import Output
from flows.commands.shared import Data, Json, existing_log, named, settings_beside
from state.model.errors import UNDECODABLE, ConfigurationError

if TYPE_CHECKING:
    from connectors.gateway.type_answers import TypeShown, TypeTried
    from connectors.log.interface import Log
    from flows.config.settings import Settings

types_app = typer.Typer(no_args_is_help=True, help="What types may do: see it, try a change, publish it, take it back.")
_Name = Annotated[str, typer.Argument(metavar="TYPE", callback=named)]
_Trial = Annotated[bool, typer.Option("--trial", help="Publish nothing: show what it would have done to the last day.")]
_Reason = Annotated[str | None, typer.Option(help="Why, for the record.")]


@types_app.command("list")
def list_types(data: Data = None, as_json: Json = False) -> None:
    """Every type of the registry, and who says so."""
    with _book(data) as book:
        for name in sorted(book.registry.names()):
            shown = book.shown(name)
            what = f"{shown.profile['klass']}  {', '.join(shown.profile['channels'])}"
            source = f"{shown.source}, version {shown.version}" if shown.version else shown.source
            Output(as_json).show(msgspec.to_builtins(shown), f"{name:24} {what:40} {source}")


@types_app.command("show")
def show_type(name: _Name, data: Data = None, as_json: Json = False) -> None:
    """All that is in force of a type, as JSON; exit 1 if it is none of the registry."""
    with _book(data) as book:
        book.show(name, Output(as_json))


@types_app.command("put")
def put_type(
    name: _Name,
    file: Annotated[typer.FileBinaryRead, typer.Argument(metavar="FILE", help="JSON, keys of [types.NAME]; -: stdin.")],
    trial: _Trial = False,
    reason: _Reason = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Publish a table, which replaces the one before and the configuration file's, without a restart."""
    try:
        table = msgspec.json.decode(file.read(), type=dict[str, Any])
    except UNDECODABLE as error:
        raise ConfigurationError(f"the table: {error}; write an object with the keys of [types.NAME]") from error
    with _book(data) as book:
        book.change(name, table, reason, Output(as_json), trial=trial)


@types_app.command("delete")
def delete_type(
    name: _Name, trial: _Trial = False, reason: _Reason = None, data: Data = None, as_json: Json = False
) -> None:
    """Take back what is published: what the configuration file says holds again, or the default."""
    with _book(data) as book:
        if name not in book.published or book.published[name].table is None:
            raise ConfigurationError(f"nothing is published of type {name}")
        book.change(name, None, reason, Output(as_json), trial=trial)


class _Book:
    """The types of a log, as they are at this moment."""

    def __init__(self, settings: Settings, log: Log) -> None:
        from connectors.types import type_records
        from state.model.type_record import with_published

        self._settings, self._log = settings, log
        self.published = type_records(log)
        self.registry = with_published(settings.types, {name: each.table for name, each in self.published.items()})

    def shown(self, name: str) -> TypeShown:
        """As the API shows it."""
        from connectors.gateway.type_answers import type_shown

        return type_shown(self.registry.profile(name), name, self.published.get(name), self._settings.types.get(name))

    def show(self, name: str, output: Output) -> None:
        """:raises ConfigurationError: there is no such type."""
        if not self.registry.profile(name).registered:
            raise ConfigurationError(f"no type has the name {name}; `put` makes one")
        shown = self.shown(name)
        output.show(msgspec.to_builtins(shown), msgspec.json.format(msgspec.json.encode(shown), indent=2).decode())

    def change(
        self, name: str, given: dict[str, Any] | None, reason: str | None, output: Output, *, trial: bool
    ) -> None:
        """Try or publish a table; None: take back what is published.

        :raises ConfigurationError: naming each fault of the table.
        """
        from connectors.gateway.type_answers import tried_of
        from connectors.types import changed_type, written_table
        from flows.commands.try_type import try_type
        from operators.admit import Rules

        table = None if given is None else written_table(given)
        rules = Rules(self.registry, retention_ms=self._settings.log.retention // timedelta(milliseconds=1))
        after = changed_type(rules, self._settings.types, self.published, name, table)
        if isinstance(after, list):
            raise ConfigurationError("\n".join(f"{each.path} {each.problem}; {each.remedy}" for each in after))
        if trial:
            tried = tried_of(try_type(self._settings.data_dir, name, table))
            output.show(msgspec.to_builtins(tried), "\n".join(_tried_lines(tried)))
            return
        self._publish(name, table, reason)
        if after.registered:
            _Book(self._settings, self._log).show(name, output)
        else:
            output.show({"type": name, "published": None}, f"{name} taken back; no type has this name any more")

    def _publish(self, name: str, table: dict[str, Any] | None, reason: str | None) -> None:
        from connectors.audit import COMMAND_LINE
        from connectors.audit_chain import AuditChain
        from connectors.types import type_publication
        from flows.commands.kill import user_name
        from flows.process.open import clock_ms
        from state.model.audit import AuditRecord
        from state.model.type_record import next_record

        before = self.published.get(name)
        record = next_record(before, name, table, user_name(), reason)
        act = AuditRecord(
            at=clock_ms(), by=record.by, role=COMMAND_LINE, act="type",
            about={"type": name, "version": str(record.version)}, reason=reason,
            before={"table": None if before is None else before.table}, after={"table": table},
        )  # fmt: skip
        self._log.append([AuditChain(self._log).record(act), type_publication(record)])


def _tried_lines(tried: TypeTried) -> Iterator[str]:
    from operators.words import time_text

    if tried.refused is not None:
        yield f"This cannot be told: {tried.refused}."
        return
    yield (
        f"Of the last day, {tried.events} records of this type were decided again, in {tried.partitions} of "
        f"{tried.partitions_all} partitions, from {time_text(tried.since_ms, 'UTC')} on."
    )
    yield f"The schema would have refused {tried.payloads_refused} of them."
    yield f"{tried.others} decisions of other types would have been others."
    for row in (*tried.outcomes, *tried.channels):
        yield f"{row.name:40} now {row.was:10}  then {row.would:10}"
    yield from (f"{row.count} would be {row.would} instead of {row.was}" for row in tried.moved)


@contextmanager
def _book(data: Path | None) -> Iterator[_Book]:
    settings = settings_beside(data)
    with existing_log(settings) as log:
        yield _Book(settings, log)
