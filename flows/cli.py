"""The command `carillon`: arguments and exit codes. 0: done; 1: it failed or found something wrong; 2: wrong usage.

What a command does is in `flows.commands`, imported only when it runs: the command line starts quickly.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from flows.commands.output import Output, complain
from state.model.errors import CarillonError

app = typer.Typer(
    name="carillon",
    help="Notification delivery: who hears of an event, through which channel, when, and whether at all.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
topics_app = typer.Typer(no_args_is_help=True, help="The log's topics.")
app.add_typer(topics_app, name="topics")

Json = Annotated[bool, typer.Option("--json", help="One JSON object per line.")]
Data = Annotated[Path | None, typer.Option("--data", metavar="DIR", help="Data directory. Default: carillon-data.")]


@app.command("simulate")
def simulate_command(
    source: Annotated[Path, typer.Argument(metavar="IN.ndjson", exists=True, dir_okay=False, help="Records, by time.")],
    out: Annotated[
        Path | None, typer.Option("--out", metavar="LEDGER.ndjson", help="Default: standard output.")
    ] = None,
    inbox: Annotated[bool, typer.Option("--inbox", help="Also the inbox rows as they stand at the end.")] = False,
    workers: Annotated[int, typer.Option("--workers", min=1, max=240, help="Workers; changes nothing but speed.")] = 1,
    batch: Annotated[int, typer.Option("--batch", min=1, help="Records that travel together; likewise.")] = 1000,
    as_json: Json = False,
) -> None:
    """Decide a record file under a virtual clock; every provider accepts at once."""
    from flows.commands.simulate import simulate
    from flows.settings import load_settings

    output = Output(as_json)
    registry = load_settings().registry()
    lines = simulate(
        source,
        out,
        registry=registry,
        inbox=inbox,
        workers=workers,
        batch=batch,
        watched=output.watched and out is not None,
    )
    if out is not None:
        output.show({"lines": lines, "out": str(out)}, f"{lines} records in {out}")


def main() -> None:
    """Run the command line; every error of ours is one line on standard error and exit code 1."""
    try:
        app()
    except CarillonError as error:
        complain(str(error))
        sys.exit(1)
    except OSError as error:
        complain(f"{error.filename or 'input or output'}: {error.strerror or error}")
        sys.exit(1)
