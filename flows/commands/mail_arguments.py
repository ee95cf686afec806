"""The command `carillon mail`: its arguments; what it does is in `flows.commands.mail`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows.commands.output import Output
from flows.commands.shared import Json

mail_app = typer.Typer(no_args_is_help=True, help="Mails that came back.")


@mail_app.callback()
def mail_command() -> None:
    """Mails that came back."""


@mail_app.command("classify")
def classify_command(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE...", help="A mail, an mbox, a directory or Maildir, or - for standard input."),
    ],
    as_json: Json = False,
) -> None:
    """Say of each mail who was not reached, and whether the address is to blame: hard, soft, complaint, auto_reply.

    `none` is none of these. What it did not understand it says too.
    """
    from flows.commands.mail import show_returned

    for file in files:
        if str(file) != "-" and not file.exists():
            raise typer.BadParameter(f"{file}: there is no such file or directory", param_hint="FILE")
    show_returned(files, Output(as_json))
