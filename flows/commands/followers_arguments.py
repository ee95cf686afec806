"""The command `carillon followers`: its arguments; what it does is in `flows.commands.followers`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows.commands.output import Output, complain
from flows.commands.shared import Data, Json, existing_log, settings_beside

followers_app = typer.Typer(no_args_is_help=True, help="Who follows whom.")


@followers_app.callback()
def followers_command() -> None:
    """Who follows whom."""


@followers_app.command("import")
def import_command(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE...", exists=True, dir_okay=False, help="Parquet, CSV or NDJSON, by its name."),
    ],
    users: Annotated[bool, typer.Option("--users", help="user, locale and name instead of followee, follower, on.")] = (
        False
    ),
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave out rows that cannot be stored: FILE.rejected.ndjson has them.")
    ] = False,
    from_begin: Annotated[bool, typer.Option("--from-begin", help="Also what was imported before.")] = False,
    rate: Annotated[
        float, typer.Option("--rate", metavar="N", min=1, help="Rows a second while the system runs. Default: 3000.")
    ] = 3000,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Write who follows whom, or with --users who the users are, from files into the log, also while the system runs.

    Ctrl-C or a crash stops it; the same command goes on from there.
    """
    from flows.commands.followers import FORMS, FollowersImport
    from flows.commands.import_rows import FOLLOWS_ROWS, USERS_ROWS
    from flows.process.memory import settle_memory

    for file in files:
        if file.suffix.lower() not in FORMS:
            raise typer.BadParameter(f"{file}: its name must end in one of {', '.join(FORMS)}", param_hint="FILE")
    settings, output = settings_beside(data), Output(as_json)
    kind = USERS_ROWS if users else FOLLOWS_ROWS
    settle_memory()  # rows by the million, none of them in a cycle: a quarter of the time
    with existing_log(settings) as log:
        try:
            FollowersImport(settings, log, kind, output, skip_bad=skip_bad, from_begin=from_begin, rate=rate).run(files)
        except KeyboardInterrupt:
            complain(f"stopped; the same command{' without --from-begin' if from_begin else ''} goes on from there")
            raise typer.Exit(1) from None


@followers_app.command("build")
def build_command(data: Data = None, as_json: Json = False) -> None:
    """Derive topic `followers` once more from `follows`, where it was lost; sequence must not run meanwhile.

    Ctrl-C or a crash stops it; the same command goes on from there.
    """
    from flows.commands.followers_build import FollowersBuild

    settings, output = settings_beside(data), Output(as_json)
    with existing_log(settings) as log:
        try:
            FollowersBuild(settings, log, output).run()
        except KeyboardInterrupt:
            complain("stopped; the same command goes on from there")
            raise typer.Exit(1) from None
