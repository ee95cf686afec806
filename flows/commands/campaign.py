"""`carillon campaign`: prepare one, see what is under way, and the acts on it, also while the system runs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from flows.commands.output import Output
from flows.commands.shared import Data, Json, existing_log, moment_ms, named, settings_beside
from state.model.errors import RefusedActError

if TYPE_CHECKING:
    from connectors.campaigns import CampaignDesk
    from connectors.gateway.auth import Principal
    from connectors.gateway.campaigns import CampaignCalls
    from state.schedule.campaign import Campaign

campaign_app = typer.Typer(
    help="Campaigns: prepare them, see how far they are, approve, schedule, throttle, pause, resume, cancel."
)
T = TypeVar("T")
_LOOK_S = 0.5
WhyOption = Annotated[str | None, typer.Option("--reason", metavar="WHY", help="Why, for the audit.")]
Name = Annotated[str, typer.Argument(metavar="NAME", callback=named)]


@contextmanager
def _desk(data: Data) -> Iterator[CampaignDesk]:
    from connectors.campaigns import CampaignDesk
    from flows.process.open import clock_ms

    with existing_log(settings_beside(data)) as log:
        yield CampaignDesk(log, clock=clock_ms)


def _act(data: Data, as_json: bool, name: str, verb: str, **given: Any) -> None:
    from connectors.audit import COMMAND_LINE
    from connectors.campaigns import Actor
    from flows.commands.kill import user_name

    with _desk(data) as desk:
        changed = desk.act(Actor(user_name(), COMMAND_LINE), name, verb, **given)
    _show(changed, Output(as_json))


def _show(campaign: Campaign, output: Output, *, estimate: bool = False) -> None:
    """How it is; `estimate`: and whom it would reach, as marketing sees it."""
    audience = campaign.audience
    recipients = 0 if audience is None else audience.recipients
    released, state = sum(campaign.released.values()), "done" if campaign.is_done else campaign.state
    record: dict[str, Any] = {
        "name": campaign.name, "state": state, "revision": campaign.revision, "type": campaign.text.type,
        "slot": campaign.text.slot, "editor": campaign.editor, "approvals": campaign.approvals,
        "approvals_needed": campaign.approvals_needed, "per_second": campaign.per_second,
        "recipients": recipients, "released": released,
    }  # fmt: skip
    approvals = f"{len(campaign.approvals)} of {campaign.approvals_needed} approvals"
    said = f"{campaign.name} {state}, revision {campaign.revision}"
    slot = ", with a dedicated slot" if campaign.text.slot else ""
    stages, stage = [] if audience is None else audience.stages, campaign.stage + 1
    in_stage = f", stage {stage} of {len(stages)} ({stages[stage - 1]} %)" if stages else ""
    record |= {"stages": stages, "stage": stage if stages else 0}
    text = f"{said}: {released} of {recipients} recipients released, {approvals}{slot}{in_stage}"
    for title, counts in _estimate(campaign).items() if estimate else ():
        record[title] = counts
        text += f"\n  {title}: {_counted(counts)}"
    output.show(record, text)


def _estimate(campaign: Campaign) -> dict[str, dict[str, int]]:
    from connectors.gateway.campaign_answers import campaign_shown

    shown = campaign_shown(campaign).audience
    return {} if shown is None else {"reached": shown.reached, "suppressed": shown.suppressed}


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {number}" for name, number in sorted(counts.items())) or "none"


def _prepare(
    data: Data, as_json: bool, work: Callable[[CampaignCalls, Principal], Coroutine[Any, Any, Campaign]]
) -> None:
    _show(_with_calls(data, work), Output(as_json))


def _with_calls(data: Data, work: Callable[[CampaignCalls, Principal], Coroutine[Any, Any, T]]) -> T:
    """What the gateway does when marketing asks it to, done here."""
    from connectors.audit import COMMAND_LINE
    from connectors.gateway.auth import Principal
    from connectors.gateway.problems import ProblemError
    from flows.commands.kill import user_name

    person = Principal(COMMAND_LINE, user_name())  # type: ignore[arg-type]  # no role has it: nothing is asked of it
    with _calls(data) as calls:
        try:
            return asyncio.run(work(calls, person))
        except ProblemError as problem:
            errors = [f"{each.path} {each.problem}: {each.remedy}".strip() for each in problem.errors]
            raise RefusedActError("; ".join(errors) or str(problem)) from problem


@contextmanager
def _calls(data: Data) -> Iterator[CampaignCalls]:
    from connectors.campaigns import CampaignDesk
    from connectors.gateway.backstage import Questions
    from connectors.gateway.campaigns import CampaignCalls
    from connectors.gateway.directory import Directory
    from connectors.types import types_in_force
    from flows.config.access import gateway_options
    from flows.gateway import open_backstage, rules_in_force
    from flows.process.open import clock_ms

    settings = settings_beside(data)
    place = gateway_options(settings, "ordinary").store_directory()
    with existing_log(settings) as log, TemporaryDirectory() as spool:
        types = types_in_force(log, settings.types)
        rules = rules_in_force(settings, types)
        questions = Questions(partial(open_backstage, settings, log, types))
        with closing(Directory(place / "directory.sqlite", rules.canonical_address)) as directory:
            yield CampaignCalls(rules, CampaignDesk(log, clock=clock_ms), directory, questions, spool=Path(spool))


@campaign_app.command("create")
def create_campaign_command(
    name: Name,
    type_name: Annotated[str, typer.Option("--type", metavar="TYPE", help="One of class P2 and category marketing.")],
    payload: Annotated[str, typer.Option("--payload", metavar="JSON", help="What fills its texts.")] = "{}",
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Prepare a campaign; it has no audience yet."""
    import orjson

    try:
        content = {"name": name, "type": type_name, "payload": orjson.loads(payload)}
    except orjson.JSONDecodeError as error:
        raise typer.BadParameter("--payload is no JSON") from error
    _prepare(data, as_json, lambda calls, person: calls.make(person, content))


@campaign_app.command("audience")
def audience_campaign_command(
    name: Name,
    file: Annotated[Path, typer.Argument(metavar="FILE", exists=True, dir_okay=False, help=".csv, .ndjson, .parquet")],
    stages: Annotated[
        str, typer.Option("--stages", metavar="P,P", help="Percents, 1,10,100. Default: all in one.")
    ] = "",
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Name a campaign's recipients, in place of those before. Who is known is what the gateway here knows."""
    from connectors.gateway.campaigns import form_of_file, stages_of

    form = form_of_file(file.name)
    if form is None:
        raise typer.BadParameter("FILE ends in .csv, .ndjson or .parquet")

    async def store(calls: CampaignCalls, person: Principal) -> Campaign:
        with file.open("rb") as rows:
            revision = (await calls.one(name)).revision
            return await calls.store(person, name, rows, form, revision, stages_of(stages))

    _prepare(data, as_json, store)


@campaign_app.command("slot")
def slot_campaign_command(
    name: Name,
    off: Annotated[bool, typer.Option("--off", help="Give it up.")] = False,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Ask for a dedicated slot: it counts apart from other notifications, one such a day. Approvals are void."""
    from msgspec.structs import replace

    with _desk(data) as desk:
        found = _found(desk, name)
    _act(data, as_json, name, "edit", revision=found.revision, text=replace(found.text, slot=not off))


def _found(desk: CampaignDesk, name: str) -> Campaign:
    found = desk.find(name)
    if found is None:
        raise RefusedActError("there is no such campaign")
    return found


@campaign_app.command("test")
def try_campaign_command(
    name: Name,
    users: Annotated[list[str], typer.Argument(metavar="USER...", help="At most 5 ids.")],
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Send a campaign as it is to a few users, for trying. Their settings hold, and it is in no report."""
    tested = _with_calls(data, lambda calls, person: calls.tested(person, name, users, None))
    Output(as_json).show(
        {"event_id": tested.event_id, "users": tested.users}, f"a test is on its way as event {tested.event_id}"
    )


@campaign_app.command("list")
def list_campaigns_command(data: Data = None, as_json: Json = False) -> None:
    """All campaigns, the newest first."""
    output = Output(as_json)
    with _desk(data) as desk:
        found = desk.campaigns()
    for campaign in found:
        _show(campaign, output)
    if not found:
        output.show({"campaigns": 0}, "There is no campaign.")


@campaign_app.command("show")
def show_campaign_command(name: Name, data: Data = None, as_json: Json = False) -> None:
    """How far a campaign is."""
    with _desk(data) as desk:
        found = _found(desk, name)
    _show(found, Output(as_json), estimate=True)


@campaign_app.command("watch")
def watch_campaign_command(name: Name, data: Data = None, as_json: Json = False) -> None:
    """Follow a campaign until it is over: a bar for who watches, a line every ten seconds for others."""
    output = Output(as_json)
    with _desk(data) as desk, output.progress(f"campaign {name}", lines=True) as told:
        while (found := _found(desk, name)).audience is not None and found.state in ("running", "paused"):
            told(sum(found.released.values()), found.audience.recipients)
            if len(found.released) >= found.audience.chunks:
                break
            time.sleep(_LOOK_S)
    _show(found, output)


@campaign_app.command("report")
def report_campaign_command(name: Name, data: Data = None, as_json: Json = False) -> None:
    """What became of a campaign: recipients by outcome, and why."""
    from flows.commands.ledger import ledger_reader
    from operators.campaigns import SENDER

    settings = settings_beside(data)
    with existing_log(settings) as log:
        counts = ledger_reader(settings.data_dir, log).campaign(name, SENDER)
    parts = {"outcomes": counts.outcomes, "reasons": counts.reasons, "deliveries": counts.deliveries,
             "heard": counts.heard}  # fmt: skip
    lines = [f"{part}: {_counted(p)}" for part, p in parts.items()]
    lines += [f"variant {variant}: {_counted(p)}" for variant, p in counts.variants.items()]
    told = {"name": name, **{part: dict(p) for part, p in parts.items()}, "variants": dict(counts.variants)}
    Output(as_json).show(told, "\n".join(lines))


@campaign_app.command("approve")
def approve_campaign_command(
    name: Name,
    revision: Annotated[int, typer.Option("--revision", help="The one that you have looked at; `show` prints it.")],
    reason: WhyOption = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Approve a campaign that another person prepared. Where people have accounts, they do so in the console."""
    if settings_beside(data).openid is not None:
        raise RefusedActError("people approve who signed in with their accounts at the console; a shell is no person")
    _act(data, as_json, name, "approve", revision=revision, reason=reason)


@campaign_app.command("schedule")
def start_campaign_command(
    name: Name,
    at: Annotated[
        int | None, typer.Option("--at", metavar="T", parser=moment_ms, help="ISO 8601 or ms. Default: at once.")
    ] = None,
    local: Annotated[
        str | None, typer.Option("--local", metavar="T", help="In each recipient's zone, 2026-12-01T09:00.")
    ] = None,
    hold: Annotated[
        int | None,
        typer.Option(
            "--hold", metavar="MINUTES", min=1, max=10_080, help="From a stage to the next. Default: `advance`."
        ),
    ] = None,
    reason: WhyOption = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Let a campaign go."""
    from state.model.zones import is_local_time

    if (at is not None and local is not None) or (local is not None and not is_local_time(local)):
        raise typer.BadParameter("name one time: --at T, or --local 2026-12-01T09:00")
    hold_ms = None if hold is None else hold * 60_000
    _act(data, as_json, name, "start", start_at=at, start_local=local, hold_ms=hold_ms, reason=reason)


@campaign_app.command("throttle")
def throttle_campaign_command(
    name: Name,
    per_second: Annotated[int, typer.Argument(metavar="PER_SECOND", min=1, max=100_000, help="Recipients.")],
    reason: WhyOption = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Say how fast a campaign goes, also while it runs."""
    _act(data, as_json, name, "throttle", per_second=per_second, reason=reason)


def _add_act(verb: str, text: str) -> None:
    @campaign_app.command(verb, help=text)
    def act_command(name: Name, reason: WhyOption = None, data: Data = None, as_json: Json = False) -> None:
        _act(data, as_json, name, verb, reason=reason)


_add_act("advance", "Let the next stage of a campaign go.")
_add_act("pause", "Stop a campaign for now.")
_add_act("resume", "Let a campaign go on.")
_add_act("cancel", "End a campaign: what is not released never is.")
