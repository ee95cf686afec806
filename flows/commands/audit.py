"""`carillon audit verify`: whether anything that people did was changed after it was noted."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.commands.output import Output
from flows.commands.shared import Data, Json, existing_log, settings_to_read
from state.model.errors import AuditFaultError

if TYPE_CHECKING:
    from connectors.audit_chain import Link
    from connectors.log.interface import Log

audit_app = typer.Typer(no_args_is_help=True, help="What people did.")


@audit_app.callback()
def audit_command() -> None:
    """What people did."""


@audit_app.command("verify")
def verify_command(
    end: Annotated[
        str | None, typer.Option(metavar="OFFSET:HEX", help="An end that an earlier look printed: it must still be so.")
    ] = None,
    archive: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Look through this archive alone. Default: log and archive.")
    ] = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Prove that no act was changed, removed, added or moved after it was noted.

    The newest acts are proved by those that follow. Note the printed end somewhere else, and give it to a later look.
    """
    from connectors.audit_chain import chain_link
    from flows.process.directories import ARCHIVE

    known = None if end is None else chain_link(end)
    if end is not None and known is None:
        raise typer.BadParameter("is no end; write it as it was printed")
    output = Output(as_json)
    if archive is not None:
        fine = _verify(archive, None, known, output)
    else:
        settings = settings_to_read(data)
        with existing_log(settings) as log:
            fine = _verify(settings.data_dir / ARCHIVE, log, known, output)
    if not fine:
        raise typer.Exit(1)


def _verify(archive: Path, log: Log | None, known: Link | None, output: Output) -> bool:
    """Say what was found; False: something was changed. Without a log the archive alone is looked through."""
    from connectors.archive.records import TopicRecords
    from connectors.audit_chain import checked_audit
    from state.model.topics import AUDIT

    records = TopicRecords(AUDIT, archive=archive, log=log)
    try:
        found = checked_audit(chain.from_iterable(records.read(0, records.begin(0), records.end(0))), known)
    except AuditFaultError as error:
        output.show({"ok": False, "fault": str(error)}, f"changed: {error}")
        return False
    shown = {"ok": True, "acts": found.acts, "older": found.older, "sure_to": found.sure_to, "end": found.last.text}
    before = f", {found.older} of them older than the chain" if found.older else ""
    proved = f"nothing was changed up to {found.sure_to}" if found.sure_to >= 0 else "no later act proves one yet"
    output.show(shown, f"{found.acts} acts{before}: {proved}.\nend {found.last.text}")
    return True
