"""`carillon what-if`: who would gain or lose by another policy, and what each channel would carry, at what cost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.commands.output import Output
from flows.commands.shared import Data, Json, in_order, moment_ms, settings_in_force
from state.model.errors import ConfigurationError

if TYPE_CHECKING:
    from flows.recovery.sms_volume import SmsVolume
    from flows.recovery.what_if import Difference, HeardBy
    from operators.sms_limits import SmsRules

_DAY_MS = 86_400_000
_SHOWN = 10


def what_if_command(
    log: Annotated[str, typer.Argument(metavar="LOG", help="A data directory, `kafka`, or an archive (DIR/archive).")],
    policy: Annotated[
        Path, typer.Option("--policy", metavar="NEW.toml", exists=True, dir_okay=False,
                           help="Tables [types.NAME] as in carillon.toml, each replacing what held, and [sms]."),
    ],
    since: Annotated[
        int | None, typer.Option("--from", metavar="T", parser=moment_ms, help="Default: a day before --to.")
    ] = None,
    until: Annotated[int | None, typer.Option("--to", metavar="T", parser=moment_ms, help="Default: now.")] = None,
    price: Annotated[
        list[str] | None, typer.Option("--price", metavar="CHANNEL=PRICE", help="Of one notification. Repeatable.")
    ] = None,
    data: Data = None,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Decide a stored log again under another policy, beside what was decided; nothing is written.

    P1 and P2 only; of P0 the text messages are counted, as they went and by the policy's [sms].
    """
    from flows.process.open import clock_ms
    from flows.recovery.replay import ReplayRange, opened_origin
    from flows.recovery.sms_volume import sms_volume
    from flows.recovery.what_if import what_if

    in_order(since, until)
    settings, output = settings_in_force(data), Output(as_json)
    prices = dict(_price(text) for text in price or ())
    to_ms = clock_ms() if until is None else until
    wanted = ReplayRange(to_ms - _DAY_MS if since is None else since, to_ms)
    tables, rules = _policy(policy)
    with opened_origin(log, settings) as origin, output.progress("deciding twice") as told:
        texts = None if rules is None else sms_volume(origin, rules, wanted)
        found = what_if(origin, wanted, tables, told)
    if texts is not None:
        _show_texts(texts, prices, output)
    if not found.was.decisions and not found.would.decisions and texts is None:
        raise ConfigurationError(f"{log}: no decision of P1 or P2 lies between --from and --to; name another time")
    _show(found, sorted(tables), prices, output)


def _policy(file: Path) -> tuple[Mapping[str, Mapping[str, object]], SmsRules | None]:
    """Types, and what it says of text messages; None: nothing."""
    from flows.config.settings import SmsOptions, load_settings

    settings = load_settings(file=file, environment={})
    rules = None if settings.sms == SmsOptions() else settings.sms.rules()
    if not settings.types and rules is None:
        raise ConfigurationError(f"{file}: names no type; write tables [types.NAME], or [sms]")
    return settings.types, rules


def _price(text: str) -> tuple[str, float]:
    channel, _, amount = text.partition("=")
    try:
        return channel, float(amount)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is no price; write email=0.0004", param_hint="--price") from error


def _show(found: Difference, types: list[str], prices: Mapping[str, float], output: Output) -> None:
    changes = found.changes()
    fewer = sum(would < was for _, was, would in changes)
    summary = {
        "kind": "summary", "types": types, "events": found.events, "payloads_refused": found.refused,
        "decisions": _pair(found.was.decisions, found.would.decisions),
        "gain": len(changes) - fewer, "lose": fewer,
    }  # fmt: skip
    output.show(summary, "\n".join(_summary_lines(found, types, len(changes) - fewer, fewer)))
    for name, was, would in found.named("channels"):
        cost = _pair(*(round(each * prices.get(name, 0), 6) for each in (was, would)))
        record = {"kind": "channel", "channel": name, "notifications": _pair(was, would), "cost": cost}
        output.show(record, _row(name, was, would, f"   cost {cost['was']:g} -> {cost['would']:g}"))
    for name, was, would in found.named("outcomes"):
        output.show({"kind": "outcome", "outcome": name, **_pair(was, would)}, _row(name, was, would))
    if not output.as_json:
        output.show({}, "\n".join(_people_lines(changes, fewer)))
        return
    for user, before, after in changes:
        of = {"notifications": _pair(before.notifications, after.notifications)}
        output.show({"kind": "user", "user": user, **of, "in_app": _pair(before.in_app, after.in_app)}, "")


def _show_texts(texts: SmsVolume, prices: Mapping[str, float], output: Output) -> None:
    was, would, price = texts.was, texts.would, prices.get("sms")
    cost = _pair(was.cost, would.cost) if price is None else _pair(was.sent * price, would.sent * price)
    record = {"kind": "channel", "channel": "sms", "notifications": _pair(was.sent, would.sent), "cost": cost}
    more = f"   cost {cost['was']:g} -> {cost['would']:g}"
    more += f"   ({texts.unknown} to numbers that are not known any more)" if texts.unknown else ""
    output.show(record | {"unknown": texts.unknown}, _row("sms (P0)", was.sent, would.sent, more))
    for reason in sorted(was.refused.keys() | would.refused.keys()):
        pair = was.refused[reason], would.refused[reason]
        output.show({"kind": "sms_refused", "reason": reason, **_pair(*pair)}, _row(f"sms, not sent: {reason}", *pair))


def _pair(was: float, would: float) -> dict[str, float]:
    return {"was": was, "would": would}


def _row(name: str, was: int, would: int, more: str = "") -> str:
    return f"  {name:34} was {was:9}   would be {would:9}   {would - was:+}{more}"


def _summary_lines(found: Difference, types: list[str], gain: int, lose: int) -> Iterator[str]:
    named = ", ".join(types) or "no type"
    yield f"{found.events} records of {named} in a stretch of {found.was.decisions} decisions of P1 and P2."
    if types and not found.events:
        yield "So nothing changes. The decision log has no P0; of a type that ends in a star the names begin so."
    if found.refused:
        yield f"The schema would have refused the payload of {found.refused}; they are decided all the same."
    yield f"{gain} users would hear more, {lose} less. Notifications by channel, then decisions by outcome:"


def _people_lines(changes: list[tuple[str, HeardBy, HeardBy]], fewer: int) -> Iterator[str]:
    losers, gainers = changes[:fewer], changes[fewer:][::-1]
    if not changes:
        yield "Everybody would hear as much as before."
    for what, people in (("lose", losers), ("gain", gainers)):
        if people:
            more = f", the first {_SHOWN} of {len(people)} (--json has all)" if len(people) > _SHOWN else ""
            yield f"Who would {what} most{more}:"
        for user, was, would in people[:_SHOWN]:
            notified = f"{was.notifications} -> {would.notifications} notifications"
            yield f"  {user:34} {notified}, {was.in_app} -> {would.in_app} in the app"
