"""The command `carillon templates`: its arguments; what it does is in `flows.commands.templates`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows.commands.output import Output
from flows.commands.shared import Data, Json, existing_log, settings_beside

templates_app = typer.Typer(no_args_is_help=True, help="Texts of your own, published without a deploy.")
_Directory = Annotated[Path, typer.Argument(metavar="DIR", file_okay=False, help="Has TYPE/LOCALE.json.")]
_Existing = Annotated[Path, typer.Argument(metavar="DIR", file_okay=False, exists=True, help="Has TYPE/LOCALE.json.")]


@templates_app.command("push")
def push_command(
    directory: _Existing,
    prune: Annotated[
        bool, typer.Option("--prune", help="Take back what has no file: the built-in texts hold.")
    ] = False,
    reason: Annotated[str | None, typer.Option(help="Why, for the record.")] = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Check every file and publish what differs; nothing is published if one of them has a fault."""
    from connectors.types import types_in_force
    from flows.commands.templates import push, read_templates

    settings, output = settings_beside(data), Output(as_json)
    with existing_log(settings) as log:
        files = read_templates(directory, types_in_force(log, settings.types), log)
        for change in push(log, files, prune=prune, reason=reason):
            done = "taken back" if change.texts is None else "published"
            record = {"type": change.place[0], "locale": change.place[1], "change": done}
            output.show(record, f"{'/'.join(change.place)} {done}")


@templates_app.command("pull")
def pull_command(directory: _Directory, data: Data = None, as_json: Json = False) -> None:
    """Write what is published into files."""
    from flows.commands.templates import pull

    output = Output(as_json)
    with existing_log(settings_beside(data)) as log:
        for path in pull(log, directory):
            output.show({"file": str(path)}, str(path))


@templates_app.command("diff")
def diff_command(directory: _Existing, data: Data = None, as_json: Json = False) -> None:
    """Check every file and show where it differs from what is published; exit 1 if something does."""
    from connectors.types import types_in_force
    from flows.commands.templates import changes, read_templates

    settings, output = settings_beside(data), Output(as_json)
    with existing_log(settings) as log:
        files = read_templates(directory, types_in_force(log, settings.types), log)
        found = changes(log, files)
    for change in found:
        published = None if change.before is None else change.before.texts
        record = {"type": change.place[0], "locale": change.place[1], "change": change.what}
        output.show(record | {"published": published, "file": change.texts}, f"{'/'.join(change.place)} {change.what}")
    raise typer.Exit(1 if found else 0)
