"""The command `carillon mail`: its arguments; what it does is in `flows.commands.mail`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from flows.commands.output import Output
from flows.commands.shared import Data, Json, existing_log, settings_beside

mail_app = typer.Typer(no_args_is_help=True, help="Mails that came back.")


_FILES = "A mail, an mbox, a directory or Maildir, or - for standard input."
Files = Annotated[list[Path], typer.Argument(metavar="FILE...", help=_FILES)]


@mail_app.callback()
def mail_command() -> None:
    """Mails that came back."""


@mail_app.command("classify")
def classify_command(
    files: Files,
    as_json: Json = False,
) -> None:
    """Say of each mail who was not reached, and whether the address is to blame: hard, soft, complaint, auto_reply.

    `none` is none of these. What it did not understand it says too.
    """
    from flows.commands.mail import show_returned

    _require(files)
    show_returned(files, Output(as_json))


@mail_app.command("intake")
def intake_command(
    files: Annotated[list[Path] | None, typer.Argument(metavar="[FILE...]", help=_FILES)] = None,
    listen: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT", help="Take them as a mail server does, until SIGTERM, instead of reading files."
        ),
    ] = None,
    certificate: Annotated[
        Path | None,
        typer.Option(metavar="PEM", help="With --listen: offer STARTTLS by this certificate and its chain."),
    ] = None,
    certificate_key: Annotated[
        Path | None, typer.Option(metavar="PEM", help="The key of the certificate, where it is in a file of its own.")
    ] = None,
    believe_all: Annotated[
        bool, typer.Option("--believe-all", help="Retire also what limits.gone_per_h withholds: you have looked.")
    ] = False,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Retire the addresses of hard bounces and unsubscribe who complained; exit 1 if some of it could not be done.

    Mails that are read again change nothing more.
    """
    from flows.commands.mail_intake import MailIntake
    from flows.config.access import link_keys
    from flows.config.providers import bounce_addresses
    from flows.process.run_files import running_url
    from state.model.errors import ConfigurationError
    from state.model.receipt import ReferenceKeys
    from state.model.unsubscribe import LinkKeys

    if bool(files) == (listen is not None):
        raise typer.BadParameter("give files, or --listen", param_hint="FILE")
    _require(files or [])
    settings = settings_beside(data)
    addresses = bounce_addresses(settings)
    if addresses is None:
        raise ConfigurationError("providers.smtp.bounce_address: missing; without it no bounce says whose it is")
    with existing_log(settings) as log:
        keys = link_keys(settings)
        links, references = LinkKeys(keys), ReferenceKeys(keys)
        url, output = partial(running_url, settings.data_dir), Output(as_json)
        intake = MailIntake(settings, log, addresses, links, references, output, url, believe_all)
        if listen is not None:
            import asyncio

            from flows.commands.mail_listen import listen as take_mails
            from flows.commands.mail_listen import mail_server_options

            asyncio.run(take_mails(intake, mail_server_options(listen, certificate, certificate_key)))
            return
        complete = intake.run(files or [])
    raise typer.Exit(0 if complete else 1)


def _require(files: list[Path]) -> None:
    for file in files:
        if str(file) != "-" and not file.exists():
            raise typer.BadParameter(f"{file}: there is no such file or directory", param_hint="FILE")
