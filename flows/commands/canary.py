"""`carillon canary`: whether a version that runs beside another one, or after it, may be rolled out further."""

from __future__ import annotations

from typing import Annotated

import typer

from flows.commands.output import Output
from flows.commands.shared import Data, Json, existing_log, named, settings_to_read


def canary_command(
    version: Annotated[str, typer.Argument(metavar="VERSION", callback=named, help="The one to be judged.")],
    minutes: Annotated[int, typer.Option("--minutes", min=1, max=1_440, help="The last so many, at most.")] = 30,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Compare what providers took of a version's notifications with the share of others; exit 1: do not promote it.

    Others are the processes of other versions, or where all run this one, those before them.
    """
    from flows.commands.canary_verdict import canary_verdict
    from flows.process.open import clock_ms

    settings, output = settings_to_read(data), Output(as_json)
    with existing_log(settings) as log:
        verdict = canary_verdict(settings.data_dir, log, version, output, now_ms=clock_ms(), minutes=minutes)
    raise typer.Exit(0 if verdict == "promote" else 1)
