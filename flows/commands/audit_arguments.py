"""The command `carillon audit`: its arguments; what it does is in `flows.commands.audit`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows.commands.output import Output
from flows.commands.shared import Data, Json, existing_log, settings_beside

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
    from flows.commands.audit import verify_audit
    from flows.process.directories import ARCHIVE

    known = None if end is None else chain_link(end)
    if end is not None and known is None:
        raise typer.BadParameter("is no end; write it as it was printed")
    output = Output(as_json)
    if archive is not None:
        fine = verify_audit(archive, None, known, output)
    else:
        settings = settings_beside(data)
        with existing_log(settings) as log:
            fine = verify_audit(settings.data_dir / ARCHIVE, log, known, output)
    if not fine:
        raise typer.Exit(1)
