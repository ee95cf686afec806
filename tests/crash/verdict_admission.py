"""What was accepted is in a decision log once, and nothing else is."""

from collections import Counter, defaultdict
from collections.abc import Iterator

from crash.left_behind import Line, P0Decision, headers_of, read_topic
from crash.model_input import DecisionLog
from crash.truth import Acknowledged, Name, Sent, Truth

from connectors.log.interface import Log, Record

SETTING_TOPICS = ("preferences", "endpoints", "profiles", "follows", "reads")
Retractions = dict[tuple[str | None, ...], list[Sent]]
_RETRACTED_BY = ("type", "actor", "target", "object", "segment")


def must_be_there(truth: Truth) -> set[int]:
    """Events that must be in a decision log once their time has come."""
    retractions = _retractions(truth)
    return {sent.number for sent in truth.sent.values() if _must(sent, retractions)}


def _must(sent: Sent, retractions: Retractions) -> bool:
    """Accepted, not cancelled, and nothing that may have been cancelled by a retraction while it was kept."""
    may_be_gone = sent.body.get("deliver_at") is not None and _may_be_retracted(sent, retractions)
    return sent.is_accepted and sent.is_cancelled is False and not may_be_gone


def check_accepted(truth: Truth, decisions: DecisionLog, p0: list[P0Decision]) -> list[str]:
    """Accepted: exactly once; nobody knows: at most once; refused or never sent: not at all."""
    places = _places(decisions, p0)
    problems = [f"event {n} is in a decision log and was never sent" for n in places.keys() - truth.sent.keys()]
    retractions = _retractions(truth)
    for number, sent in truth.sent.items():
        found = places.get(number, [])
        problems += _check_once(sent, found)
        problems += _check_there(sent, found, retractions)
    return problems


def _places(decisions: DecisionLog, p0: list[P0Decision]) -> dict[int, list[tuple[Line, int, str | None]]]:
    """By number of the event: (event, key group or -1, plan of its slices) wherever it stands."""
    places: dict[int, list[tuple[Line, int, str | None]]] = defaultdict(list)
    for _, _, work in decisions.works:
        if work["k"] in ("event", "slice"):
            places[work["event"]["payload"]["n"]].append((work["event"], work["g"], work.get("plan")))
    for decision in p0:
        places[decision.event["payload"]["n"]].append((decision.event, -1, None))
    return places


def _check_once(sent: Sent, found: list[tuple[Line, int, str | None]]) -> list[str]:
    """Once per key group, under one event_id, with slices for the groups of the plan."""
    groups = Counter(group for _, group, _ in found)
    ids = {event["event_id"] for event, _, _ in found} | sent.event_ids
    problems = [f"event {sent.number} is in the decision log {n} times" for n in groups.values() if n > 1]
    if len(ids) > 1:
        problems.append(f"event {sent.number} has several event_ids: {sorted(ids)}")
    if found and sent.body.get("fan_out_type", "DIRECT") == "DIRECT" and len(groups) > 1:
        problems.append(f"event {sent.number} for one person is in key groups {sorted(groups)}")
    for plan in {plan for _, _, plan in found if plan is not None}:
        planned = {group for group in range(240) if int(plan, 16) >> group & 1}
        if planned != groups.keys():
            problems.append(f"event {sent.number} has slices for {sorted(groups)}, planned were {sorted(planned)}")
    return problems


def _check_there(sent: Sent, found: list[tuple[Line, int, str | None]], retractions: Retractions) -> list[str]:
    if sent.is_refused and found:
        return [f"event {sent.number} was refused ({sent.answers}) and is in the decision log"]
    if sent.is_cancelled and found:
        return [f"event {sent.number} was cancelled and is in the decision log"]
    if _must(sent, retractions) and not found:
        return [f"event {sent.number} was accepted ({sent.answers}) and is in no decision log: {sent.body}"]
    return []


def _retractions(truth: Truth) -> Retractions:
    found: Retractions = defaultdict(list)
    for sent in truth.sent.values():
        if sent.body.get("retracts") and not sent.is_refused:
            found[tuple(sent.body.get(name) for name in _RETRACTED_BY)].append(sent)
    return found


def _may_be_retracted(sent: Sent, retractions: Retractions) -> bool:
    return bool(retractions.get(tuple(sent.body.get(name) for name in _RETRACTED_BY)))


def check_sources(decisions: DecisionLog) -> list[str]:
    """Nothing was written twice from one source, and no stamp falls."""
    sources = Counter(
        (partition, *work["src"]) for partition, _, work in decisions.works if work.get("src") is not None
    )
    problems = [f"the decision log has {count} records from {source}" for source, count in sources.items() if count > 1]
    last: dict[int, int] = {}
    for partition, offset, work in decisions.works:
        if work["stamp"] < last.get(partition, 0):
            problems.append(f"work {partition}/{offset}: time goes back")
        last[partition] = work["stamp"]
    return problems


def check_settings(log: Log, decisions: DecisionLog) -> list[str]:
    """Every setting that was acknowledged is in the decision log: in its group, a switch in every partition."""
    there = {(partition, *work["src"][:3]) for partition, _, work in decisions.works if work.get("src") is not None}
    anywhere = {source[1:] for source in there}
    problems = []
    for record in _setting_records(log):
        source = (record.topic, record.partition, record.offset)
        everywhere = range(decisions.partitions) if record.topic == "control" else ()
        if source not in anywhere or any((partition, *source) not in there for partition in everywhere):
            problems.append(f"{source} is not, or not everywhere, in the decision log")
    return problems


def _setting_records(log: Log) -> Iterator[Record]:
    for topic in SETTING_TOPICS:
        yield from (record for record in read_topic(log, topic) if record.value)
    yield from (record for record in read_topic(log, "control") if headers_of(record).get("schema") == "kill/1+json")


def check_bindings(truth: Truth, decisions: DecisionLog, p0: list[P0Decision]) -> list[str]:
    """RULES 6: a preference or address acknowledged before a DIRECT event to that user was accepted precedes it."""
    offsets = {_name(work): offset for _, offset, work in decisions.works if work["k"] in ("preference", "endpoint")}
    by_user: dict[str, list[Acknowledged]] = defaultdict(list)
    for each in truth.acknowledged:
        by_user[each.user].append(each)
    problems = []
    for partition, offset, work in decisions.works:
        if work["k"] == "event" and work["event"].get("deliver_at") is None:
            names = _before(truth, work["event"], by_user)
            late = [name for name in names if offsets.get(name, 1 << 62) > offset]
            problems += [
                f"work {partition}/{offset}: {name} was acknowledged before, and stands behind" for name in late
            ]
    for decision in p0:
        names = _before(truth, decision.event, by_user)
        read = decision.used.get(f"preferences/{decision.lane}", 0)
        late = [name for name in names if name[0] == "preference" and int(name[-1]) >= read]
        problems += [f"P0 {decision.lane}/{decision.offset}: decided without {name}" for name in late]
    return problems


def _name(work: Line) -> Name:
    if work["k"] == "preference":
        return "preference", work["user"], work["src"][2]
    return "endpoint", work["user"], work["channel"], work["id"], work.get("registered_at", 0)


def _before(truth: Truth, event: Line, by_user: dict[str, list[Acknowledged]]) -> list[Name]:
    """What had been acknowledged to its target when it was sent for the first time."""
    sent = truth.sent.get(event["payload"]["n"])
    return [] if sent is None else [each.name for each in by_user.get(event["target"], ()) if each.at < sent.at]
