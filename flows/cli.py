"""The command `carillon`: arguments and exit codes. 0: done; 1: it failed or found something wrong; 2: wrong usage.

What a command does is in `flows.commands`, imported only when it runs: the command line starts quickly.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.commands.audit import audit_app
from flows.commands.campaign import campaign_app
from flows.commands.canary import canary_command
from flows.commands.dead_letters_arguments import dead_letters_app
from flows.commands.followers_arguments import followers_app
from flows.commands.mail_arguments import mail_app
from flows.commands.output import Output, complain
from flows.commands.rollout import rollout_command
from flows.commands.shared import (
    CommandGroup,
    Data,
    Json,
    ProfileName,
    existing_log,
    in_order,
    moment_ms,
    named,
    settings_beside,
    settings_in_force,
    settings_to_read,
    tell_absent,
)
from flows.commands.templates_arguments import templates_app
from flows.commands.types import types_app
from flows.commands.what_if import what_if_command
from state.model.errors import CarillonError

app = typer.Typer(
    cls=CommandGroup,
    name="carillon",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
topics_app = typer.Typer(no_args_is_help=True, help="The log's topics.")
app.add_typer(topics_app, cls=CommandGroup, name="topics")
app.command("rollout")(rollout_command)
app.command("what-if")(what_if_command)
app.command("canary")(canary_command)

app.add_typer(dead_letters_app, cls=CommandGroup, name="dead-letters")
app.add_typer(campaign_app, cls=CommandGroup, name="campaign")
app.add_typer(audit_app, cls=CommandGroup, name="audit")
app.add_typer(followers_app, cls=CommandGroup, name="followers")
app.add_typer(mail_app, cls=CommandGroup, name="mail")
app.add_typer(templates_app, cls=CommandGroup, name="templates")
app.add_typer(types_app, cls=CommandGroup, name="types")

if TYPE_CHECKING:
    from flows.commands.kill import ObeyedAfter


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"carillon {version('carillon')}")
        raise typer.Exit


@app.callback()
def main_command(
    _version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Notification delivery: who hears of an event, through which channel, when, and whether at all."""


@app.command("simulate")
def simulate_command(
    source: Annotated[Path, typer.Argument(metavar="IN.ndjson", exists=True, dir_okay=False, help="Records, by time.")],
    out: Annotated[
        Path | None, typer.Option("--out", metavar="LEDGER.ndjson", help="Default: standard output.")
    ] = None,
    inbox: Annotated[bool, typer.Option("--inbox", help="Also the inbox rows at the end.")] = False,
    workers: Annotated[int, typer.Option("--workers", min=1, max=240, help="Workers; changes nothing but speed.")] = 1,
    batch: Annotated[int, typer.Option("--batch", min=1, help="Records that travel together; likewise.")] = 1000,
    as_json: Json = False,
) -> None:
    """Decide a record file under a virtual clock; every provider accepts at once."""
    from flows.commands.simulate import simulate

    output = Output(as_json)
    registry = settings_in_force(None).registry()
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


@app.command("up")
def up_command(
    data: Data = None,
    profile: Annotated[ProfileName | None, typer.Option("--profile", help="Where the log lives.")] = None,
    demo: Annotated[bool, typer.Option("--demo", help="Feed a synthetic workload and watch it.")] = False,
    as_json: Json = False,
) -> None:
    """Run the whole system on this machine until Ctrl-C."""
    from flows.commands.up import up

    raise typer.Exit(up(settings_in_force(data, profile), Output(as_json), demo=demo))


@app.command("check")
def check_command(data: Data = None, as_json: Json = False) -> None:
    """Show the configuration in force and connect to everything configured; exit 1 if something does not answer."""
    from flows.commands.check import check
    from flows.config.options import masked

    settings, output = settings_beside(data, stopped=False), Output(as_json)
    output.show({"configuration": masked(settings)}, json.dumps(masked(settings), indent=2))
    bad = 0
    for finding in check(settings):
        bad += not finding.ok
        record = {"check": finding.what, "ok": finding.ok, "detail": finding.detail}
        output.show(record, f"{'ok  ' if finding.ok else 'FAIL'} {finding.what}: {finding.detail}")
    raise typer.Exit(1 if bad else 0)


@app.command("ledger")
def ledger_command(
    event: Annotated[
        str | None, typer.Option(callback=named, help="Records of this event and of what it led to.")
    ] = None,
    user: Annotated[str | None, typer.Option(callback=named, help="Records of this user.")] = None,
    since: Annotated[
        int | None, typer.Option("--from", metavar="T", parser=moment_ms, help="From this time on, ISO 8601 or ms.")
    ] = None,
    until: Annotated[int | None, typer.Option("--to", metavar="T", parser=moment_ms, help="Before this time.")] = None,
    check: Annotated[bool, typer.Option("--check", help="Prove the three laws; exit 1 if one does not hold.")] = False,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Query the ledger, also while the system runs, or prove that nothing is unaccounted for."""
    from connectors.archive.ledger import LedgerQuery
    from flows.commands.ledger import ProofOptions, check_ledger, show_ledger

    if check and (event, user, since, until) != (None,) * 4:
        raise typer.BadParameter("--check looks at everything; leave the other options out")
    in_order(since, until)
    settings, output = settings_to_read(data), Output(as_json)
    query = LedgerQuery(event, user, from_ms=since, to_ms=until)
    with existing_log(settings) as log:
        if not check:
            show_ledger(settings.data_dir, log, query, output)
        elif not check_ledger(settings.data_dir, log, output, ProofOptions(redis=settings.inbox.in_redis())):
            raise typer.Exit(1)


@app.command("explain")
def explain_command(
    event: Annotated[str, typer.Option(callback=named, help="The event_id.")],
    user: Annotated[str, typer.Option(callback=named, help="The recipient.")],
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Say why a user did or did not hear of an event, with every value that counted; exit 1 if nothing is known."""
    from connectors.types import types_in_force
    from flows.commands.explain import explain

    settings = settings_beside(data, reader=True)
    with existing_log(settings) as log:
        tell_absent(types := types_in_force(log, settings.types, reader=True))
        found = explain(
            settings.data_dir, log, types, event=event, user=user, output=Output(as_json),
            redis=settings.inbox.in_redis(),
        )  # fmt: skip
    raise typer.Exit(0 if found else 1)


@app.command("progress")
def progress_command(
    event: Annotated[str, typer.Argument(metavar="EVENT_ID", callback=named)],
    follow: Annotated[bool, typer.Option("--follow", help="Go on until every key group of a fan-out is done.")] = False,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Say how far an event is: recipients by outcome, key groups and stages of a fan-out; exit 1 if none is decided."""
    from connectors.campaigns import CampaignDesk
    from flows.commands.ledger import ledger_reader
    from flows.commands.progress import show_progress
    from flows.process.open import clock_ms

    settings = settings_to_read(data)
    with existing_log(settings) as log:
        reader = ledger_reader(settings.data_dir, log)
        desk = CampaignDesk(log, clock=clock_ms)
        found = show_progress(
            lambda: reader.progress(event), event, Output(as_json), follow=follow, rollout=lambda: desk.rollout(event)
        )
    raise typer.Exit(0 if found else 1)


@app.command("replay")
def replay_command(
    log: Annotated[str, typer.Argument(metavar="LOG", help="A data directory, `kafka`, or an archive (DIR/archive).")],
    since: Annotated[
        int | None, typer.Option("--from", metavar="T", parser=moment_ms, help="From this stamp on, ISO 8601 or ms.")
    ] = None,
    until: Annotated[int | None, typer.Option("--to", metavar="T", parser=moment_ms, help="Before this stamp.")] = None,
    partition: Annotated[int | None, typer.Option("--partition", min=0, help="Of `work`. Default: all.")] = None,
    rebuild: Annotated[bool, typer.Option("--rebuild-state", help="Build decide's lost state; up is stopped.")] = False,
    again: Annotated[bool, typer.Option("--redeliver", help="Deliver what was not sent; nothing goes twice.")] = False,
    force: Annotated[bool, typer.Option("--force", help="With --rebuild-state: move what is there aside.")] = False,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="LEDGER.ndjson", help="Default: standard output.")
    ] = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Decide a stretch of the decision log again: P1 and P2, exactly as before. P0 has its own store."""
    from flows.commands.replay import replay_decisions, replay_deliveries, replay_state
    from flows.recovery.replay import ReplayRange

    if rebuild and (again or (since, until, partition, out) != (None,) * 4):
        raise typer.BadParameter("--rebuild-state takes all that there is; leave the other options out")
    if force and not rebuild:
        raise typer.BadParameter("--force belongs to --rebuild-state")
    if again and out:
        raise typer.BadParameter("--redeliver writes to the deliver topics; leave --out out")
    in_order(since, until)
    settings, output = settings_in_force(data), Output(as_json)
    if rebuild:
        replay_state(log, settings, output, force=force)
        return
    if since is None or until is None:
        raise typer.BadParameter("--from and --to are needed: which stretch to decide again")
    wanted = ReplayRange(since, until, partition)
    if again:
        replay_deliveries(log, settings, wanted, output)
    else:
        replay_decisions(log, settings, wanted, out, output)


@app.command("kill")
def kill_command(
    show: Annotated[bool, typer.Option("--list", help="Show what is in force, since when and by whom.")] = False,
    everything: Annotated[bool, typer.Option("--all", help="Stop every send.")] = False,
    sender: Annotated[str | None, typer.Option(callback=named, help="Stop what this sender sends.")] = None,
    type_name: Annotated[str | None, typer.Option("--type", callback=named, help="Stop this type.")] = None,
    channel: Annotated[str | None, typer.Option(callback=named, help="Stop this channel.")] = None,
    campaign: Annotated[str | None, typer.Option(callback=named, help="Stop this campaign.")] = None,
    door: Annotated[str | None, typer.Option(callback=named, help="Let in no more events of this sender.")] = None,
    key: Annotated[
        str | None, typer.Option(callback=named, help="Take no key and no session of this sender or person.")
    ] = None,
    drain: Annotated[
        str | None, typer.Option(callback=named, help="Let what is under way end, and hold back a class or a provider.")
    ] = None,
    lift: Annotated[bool, typer.Option("--lift", help="Lift the switch instead.")] = False,
    reason: Annotated[str | None, typer.Option(help="Why, for the record.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Also a name that is not known yet.")] = False,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Set a kill switch, also while the system runs, and say when each process obeys; exit 1 if one does not."""
    from flows.commands.kill import DEADLINE, kill, refuse_unknown, show_switches, user_name
    from state.model.settings import Kill

    named = {"sender": sender, "type": type_name, "channel": channel, "campaign": campaign, "door": door}
    named |= {"key": key, "drain": drain}
    given: list[tuple[Any, str]] = [(scope, value) for scope, value in named.items() if value is not None]
    given += [("all", "")] if everything else []
    if len(given) + show != 1 or (show and lift):
        scopes = ", ".join(f"--{scope}" for scope in named)
        raise typer.BadParameter(f"name exactly one of --list, --all, {scopes}")
    settings, output = (settings_to_read if show else settings_beside)(data), Output(as_json)
    with existing_log(settings) as log:
        if show:
            show_switches(log, output)
            return
        switch = Kill(*given[0], not lift, reason, user_name())
        if not force:
            refuse_unknown(log, settings, switch)
        answers = list(_shown(kill(log, settings.data_dir / "run", switch, deadline=DEADLINE), output))
    if not answers:
        output.show({"processes": 0}, "Written; no process runs, the next start obeys it from its first send.")
    raise typer.Exit(1 if any(answer.after is None for answer in answers) else 0)


@app.command("token")
def token_command(
    user: Annotated[str, typer.Argument(metavar="USER", callback=named)], data: Data = None, as_json: Json = False
) -> None:
    """Print a user's JWT for trying, signed with the development secret."""
    from flows.commands.token import development_token

    settings = settings_in_force(data)
    with existing_log(settings):
        token = development_token(settings, user)
    Output(as_json).show({"user": user, "token": token}, token)


@app.command("webhook-secret")
def webhook_secret_command(
    user: Annotated[str, typer.Argument(metavar="USER", callback=named)],
    endpoint: Annotated[str, typer.Argument(metavar="ENDPOINT", callback=named)],
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Print what the receiver of a user's webhook checks signatures with; two lines while the secret is changed."""
    from flows.commands.webhook_secret import webhook_secrets

    secrets = webhook_secrets(settings_in_force(data), user, endpoint)
    Output(as_json).show({"user": user, "endpoint": endpoint, "secrets": secrets}, "\n".join(secrets))


@topics_app.command("create")
def topics_create_command(data: Data = None, as_json: Json = False) -> None:
    """Create the topics that are missing."""
    from flows.process.opening import open_configured_log, system_topics

    settings, output = settings_in_force(data), Output(as_json)
    log = open_configured_log(settings)
    try:
        for spec in system_topics(settings):
            log.ensure_topics([spec])
            record = {"topic": spec.name, "partitions": spec.partitions, "compacted": spec.compacted}
            output.show(record, f"{spec.name}: {spec.partitions} partitions{', compacted' if spec.compacted else ''}")
    finally:
        log.close()


@app.command("graph")
def graph_command(flow: Annotated[str, typer.Argument(metavar="FLOW")], as_json: Json = False) -> None:
    """Draw a flow as a mermaid diagram, from the flow itself."""
    from flows.commands.graph import FLOWS, mermaid

    if flow not in FLOWS:
        raise typer.BadParameter(f"no such flow; there are {', '.join(FLOWS)}", param_hint="FLOW")
    picture = mermaid(flow)
    Output(as_json).show({"flow": flow, "mermaid": picture}, picture)


def _shown(answers: Iterable[ObeyedAfter], output: Output) -> Iterator[ObeyedAfter]:
    for answer in answers:
        after_ms = None if answer.after is None else int(answer.after.total_seconds() * 1000)
        record = {"process": answer.process, "pid": answer.pid, "obeyed": after_ms is not None, "after_ms": after_ms}
        said = "has NOT obeyed yet" if after_ms is None else f"obeyed after {after_ms} ms"
        output.show(record, f"{answer.process} ({answer.pid}) {said}")
        yield answer


def main() -> None:
    """Run the command line; every error of ours is one line on standard error and exit code 1."""
    os.umask(0o077)  # what it and its processes store has addresses and texts in it
    try:
        app()
    except CarillonError as error:
        complain(str(error))
        sys.exit(1)
    except OSError as error:
        complain(f"{error.filename or 'input or output'}: {error.strerror or error}")
        sys.exit(1)


if __name__ == "__main__":
    main()
