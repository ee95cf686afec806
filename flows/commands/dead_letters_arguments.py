"""The command `carillon dead-letters`: its arguments; what it does is in `flows.commands.dead_letters`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from flows.commands.output import Output, complain
from flows.commands.shared import Data, Json, existing_log, named, settings_beside, settings_to_read

if TYPE_CHECKING:
    from connectors.dead_letters import DeadLetters
    from connectors.log.interface import Log
    from flows.config.settings import Settings

dead_letters_app = typer.Typer(help="What could not be handled: list it, show it, give it back or discard it.")

StageOption = Annotated[
    str | None, typer.Option("--stage", callback=named, help="Only of this stage: sequence, decide, deliver, ...")
]
SenderOption = Annotated[
    str | None, typer.Option("--sender", metavar="ID", callback=named, help="Only of this sender.")
]
Ids = Annotated[list[str] | None, typer.Argument(metavar="ID...", help="As `list` prints them.")]
Done = Annotated[bool, typer.Option("--all", help="Also what was retried or discarded.")]
Newest = Annotated[
    int | None,
    typer.Option("--newest", min=1, help="A page: no more than the newest letters, and where to go on."),
]
Cursor = Annotated[str | None, typer.Option("--cursor", help="With --newest: the next page, as the one before ended.")]
Reason = Annotated[str | None, typer.Option(help="Why, for the record.")]
Every = Annotated[bool, typer.Option("--all", help="Every open letter, of a --stage or --sender if named.")]


@dead_letters_app.callback(invoke_without_command=True)
def default_command(
    context: typer.Context,
    stage: StageOption = None,
    sender: SenderOption = None,
    everything: Done = False,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """List them, unless a subcommand says otherwise."""
    if context.invoked_subcommand is None:
        list_command(stage, sender, everything=everything, data=data, as_json=as_json)
    elif any((stage, sender, everything, data, as_json)):
        raise typer.BadParameter(f"options come behind the word {context.invoked_subcommand}")


@dead_letters_app.command("list")
def list_command(
    stage: StageOption = None,
    sender: SenderOption = None,
    everything: Done = False,
    newest: Newest = None,
    cursor: Cursor = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """List what is open, also while the system runs. Without --newest all of it, the newest last, with what ended as
    DEAD_LETTER and has no letter (where there are thousands, behind the others).
    """
    from connectors.dead_letters import TOPIC
    from connectors.paging import cursor_of
    from flows.commands.dead_letters import list_letters, list_page
    from state.model.dead_letter import Selection

    selection, start = Selection((), stage, sender, everything), cursor_of(cursor)
    if cursor is not None and newest is None:
        raise typer.BadParameter("--cursor belongs to --newest")
    with _opened(settings_to_read(data)) as (log, letters):
        if newest is None:
            list_letters(letters, selection, Output(as_json))
            return
        if start is None or len(start) not in (0, log.partitions(TOPIC)):
            raise typer.BadParameter("--cursor is not what a page ended with")
        list_page(log, selection, Output(as_json), newest, start)


@dead_letters_app.command("show")
def show_command(
    letter_id: Annotated[str, typer.Argument(metavar="ID", help="As `list` prints it.")],
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Show everything about a dead letter but the record's content; exit 1 if there is none of that name."""
    from flows.commands.dead_letters import show_letter

    with _opened(settings_to_read(data)) as (_, letters):
        if not show_letter(letters, letter_id, Output(as_json)):
            complain(f"there is no dead letter {letter_id} in the log")
            raise typer.Exit(1)


@dead_letters_app.command("retry")
def retry_command(
    ids: Ids = None,
    everything: Every = False,
    stage: StageOption = None,
    sender: SenderOption = None,
    again: Annotated[bool, typer.Option("--again", help="Also what was retried or discarded before.")] = False,
    reason: Reason = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Give records back to where they failed; exit 1 if one was refused."""
    from flows.commands.dead_letters import retry_letters, typed
    from flows.process.open import clock_ms
    from state.model.dead_letter import Selection

    selection = Selection(_named(ids, stage, sender, everything=everything), stage, sender)
    with _opened(settings_beside(data)) as (log, letters):
        if not retry_letters(log, letters, selection, Output(as_json), now_ms=clock_ms, again=again, by=typed(reason)):
            raise typer.Exit(1)


@dead_letters_app.command("discard")
def discard_command(
    ids: Ids = None,
    everything: Every = False,
    stage: StageOption = None,
    sender: SenderOption = None,
    reason: Reason = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Note that nothing will be done about them; exit 1 if one was refused."""
    from flows.commands.dead_letters import discard_letters, typed
    from flows.process.open import clock_ms
    from state.model.dead_letter import Selection

    selection = Selection(_named(ids, stage, sender, everything=everything), stage, sender)
    with _opened(settings_beside(data)) as (log, letters):
        if not discard_letters(log, letters, selection, Output(as_json), now_ms=clock_ms, by=typed(reason)):
            raise typer.Exit(1)


def _named(ids: list[str] | None, stage: str | None, sender: str | None, *, everything: bool) -> tuple[str, ...]:
    """Either names, or --all with what narrows it down."""
    if bool(ids) == everything:
        raise typer.BadParameter("name the letters, or say --all")
    if ids and (stage or sender):
        raise typer.BadParameter("--stage and --sender belong to --all")
    return tuple(ids or ())


@contextmanager
def _opened(settings: Settings) -> Iterator[tuple[Log, DeadLetters]]:
    from connectors.dead_letters import DeadLetters
    from flows.process.directories import ARCHIVE
    from flows.process.open import clock_ms

    since_ms = clock_ms() - settings.log.retention // timedelta(milliseconds=1)  # as long as the log keeps letters
    with existing_log(settings) as log:
        yield log, DeadLetters(log, settings.data_dir / ARCHIVE, deliveries_since_ms=since_ms)
