"""`carillon dead-letters`: what could not be handled, and what an operator decides about it. Never shows content.

A retry appends the record again and then notes that it did: in between a crash leaves it open, and what consumers hold
exactly (event ids, delivery keys, the marks of retries) keeps a second append from counting twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec

from connectors.audit import COMMAND_LINE
from connectors.audit_chain import AuditChain
from connectors.dead_letters import OPEN, DeadLetters, FiledLetter
from connectors.letter_pages import letter_page
from connectors.log.interface import Log, NewRecord, Record
from connectors.log.topics import COMPACTED_TOPICS
from connectors.paging import ListCursor, cursor_text
from flows.commands.kill import user_name
from flows.commands.output import Output
from flows.steps.dead_letters import dead_action
from state.model.audit import AuditRecord
from state.model.dead_letter import (
    AGAIN_HEADER,
    ATTEMPT_HEADER,
    DeadAction,
    DeadLetter,
    Selection,
    error_text,
    is_final,
)
from state.model.envelope import LogPosition
from state.model.errors import UNDECODABLE, CarillonError, MalformedRecordError
from state.model.keys import key_group, partition_of_group
from state.model.topics import RETRIES
from state.model.work import EventWork, SliceWork, TickWork, VersionsWork, decode_work

_MEANING = {
    "malformed": "it does not decode: a retry fails again unless the program was upgraded",
    "raised": "our code raised on it; retry it when the cause is fixed",
    "killed": "it ended the process five times in a row and is skipped since; retry it when the cause is fixed",
    "failed": "a delivery that ended as DEAD_LETTER, which is final: its producer posts again",
}
_MEANING_OF_A_DELIVERY = _MEANING | {
    "raised": "a delivery on which our code raised; it has ended, which is final: its producer posts again",
    "killed": "a delivery that ended the process five times in a row, which is final: its producer posts again",
}


Decider = tuple[str, str, str | None]
"""A name, a role, and why."""


def typed(reason: str | None) -> Decider:
    """Whoever types."""
    return user_name(), COMMAND_LINE, reason


class RetryRefusedError(CarillonError):
    """A dead letter cannot be given back; the text says why."""


def list_letters(letters: DeadLetters, selection: Selection, output: Output) -> None:
    """Print one line per letter."""
    shown = 0
    for each in letters.each(selection.wants, undecided=not selection.everything):
        _show_line(each, output)
        shown += 1
    _show_unreadable(letters.unreadable, output)
    if not shown and not output.as_json:
        output.show({}, "No open dead letters." if not selection.everything else "No dead letters.")


def list_page(log: Log, selection: Selection, output: Output, newest: int, start: ListCursor) -> None:
    """Print the newest so many, and where to go on; those of deliveries that have no letter are not among them."""
    page = letter_page(log, selection.wants, newest, start, everything=selection.everything)
    for each in page.found[::-1]:
        _show_line(each, output)
    _show_unreadable(page.unreadable, output)
    if page.onward is not None:
        cursor = cursor_text(page.onward)
        reached = "" if page.looked_to_ms is None else f"Looked back to {_time(page.looked_to_ms)}. "
        output.show({"cursor": cursor}, f"{reached}Older ones: --newest {newest} --cursor {cursor}")
    elif not page.found and not output.as_json:
        output.show({}, "None is older." if start else "No such dead letters.")


def _show_line(each: FiledLetter, output: Output) -> None:
    letter = each.letter
    about = ", ".join(f"{name} {value}" for name, value in _names(letter).items() if value is not None)
    line = f"{_time(letter.at)}  {each.status:9} {letter.kind:9} {letter.id}  {about or 'nothing known'}"
    output.show(letter_record(each), f"{line}: {letter.error}")


def _show_unreadable(unreadable: int, output: Output) -> None:
    if unreadable:
        text = f"{unreadable} records of dead_letters could not be read: another version wrote them, or damage."
        output.show({"unreadable": unreadable}, text)


def explain_letters(letters: DeadLetters, event: str, user: str, output: Output, since_ms: int) -> int:
    """Print what became of an event where a stage could not handle it; gives how many letters there are since then.

    Other key groups of a fan-out are left out. A letter about a whole batch names no event and is not found.
    """
    group = key_group(user)
    found = [*letters.each(lambda letter: letter.event_id == event and letter.group in (None, group), since_ms)]
    for each in found:
        letter = each.letter
        done = "".join(f" It was {action.action} at {_time(action.at)}." for action in each.actions)
        sentence = (
            f"The stage {letter.stage} could not handle it at {_time(letter.at)} ({letter.kind}: {letter.error}); "
            f"dead letter {letter.id}.{done}"
        )
        record = letter_record(each) | {"kind": "dead_letter", "cause": letter.kind, "explanation": sentence}
        output.show(record, f"Letter   {sentence}")
    return len(found)


def show_letter(letters: DeadLetters, letter_id: str, output: Output) -> bool:
    """Print everything that is known of a letter but the record's content; False: there is no such letter."""
    each = letters.named([letter_id]).get(letter_id)
    if each is None:
        return False
    record = letters.record(each.letter.source)
    place = None if each.offset < 0 else [each.partition, each.offset]
    told = letter_record(each) | {"letter": place, "record": _about(record)}
    lines = [f"{name:10} {_plain(value)}" for name, value in told.items()]
    output.show(told, "\n".join([*lines, f"{'meaning':10} {_meaning(each.letter)}"]))
    return True


def _meaning(letter: DeadLetter) -> str:
    return (_MEANING_OF_A_DELIVERY if is_final(letter) else _MEANING)[letter.kind]


def retry_letters(
    log: Log,
    letters: DeadLetters,
    selection: Selection,
    output: Output,
    *,
    now_ms: Callable[[], int],
    again: bool,
    by: Decider | None,
) -> bool:
    """Give records back to where they failed; False: something that was asked for was refused.

    `by`: who decided so; None: whoever types.
    """
    fine, chain = True, AuditChain(log)
    for each in _chosen(letters, selection, output, repeatable=again):
        if isinstance(each, str):
            fine = False
            continue
        try:
            given = given_back(letters, each, log.partitions("work"), again=again)
        except RetryRefusedError as error:
            _refused(output, each.letter.id, str(error))
            fine = False
            continue
        act, done = _noted(each, "retried", now_ms(), by)
        _, offset = log.append([chain.record(act), given])
        log.append([done])
        place = [given.topic, given.partition, offset]
        output.show(
            {"id": each.letter.id, "retried": True, "to": place}, f"{each.letter.id} retried, now {_plain(place)}"
        )
    return fine


def discard_letters(
    log: Log,
    letters: DeadLetters,
    selection: Selection,
    output: Output,
    *,
    now_ms: Callable[[], int],
    by: Decider | None,
    note: bool = True,
) -> bool:
    """Note that nothing will be done; False: something that was asked for was refused.

    Without `note` it is in the audit already that somebody does so.
    """
    fine, chain = True, AuditChain(log)
    for each in _chosen(letters, selection, output, repeatable=False):
        if isinstance(each, str):
            fine = False
            continue
        act, done = _noted(each, "discarded", now_ms(), by)
        log.append([chain.record(act), done] if note else [done])
        output.show({"id": each.letter.id, "discarded": True}, f"{each.letter.id} discarded")
    return fine


def given_back(letters: DeadLetters, filed: FiledLetter, partitions: int, *, again: bool) -> NewRecord:
    """The record that a retry appends (TOPICS.md); `partitions` are those of `work`.

    :raises RetryRefusedError: saying why not.
    """
    letter = filed.letter
    if is_final(letter):
        raise RetryRefusedError(
            "a delivery that ended is final; its producer posts the event again, with a new event_id and a new "
            "idempotency_key, since it is a repeat without"
        )
    if filed.retries and not again:
        raise RetryRefusedError("it was retried already; --again does it once more")
    record = letters.record(letter.source)
    if record is None:
        raise RetryRefusedError(
            "the log no longer retains the record, nor does the archive; its producer posts it again"
        )
    headers = (
        *(header for header in record.headers if header[0] not in (AGAIN_HEADER, ATTEMPT_HEADER)),
        (AGAIN_HEADER, letter.id.encode()),
        *(((ATTEMPT_HEADER, b"%d" % (filed.retries + 1)),) if filed.retries else ()),
    )
    if letter.source[0] != "work":
        _refuse_superseded(letters, letter.source, record)
        return NewRecord(record.topic, record.partition, record.key, record.value, headers)
    if letter.group is None:
        raise RetryRefusedError(
            "a record of the decision log is given back to the group that skipped it; this names none"
        )
    _refuse_old_work(letters, letter.source, record)
    key = b"%d" % letter.group
    return NewRecord(RETRIES, partition_of_group(letter.group, partitions), key, record.value, headers)


def _refuse_superseded(letters: DeadLetters, source: LogPosition, record: Record) -> None:
    """What was true then must not take the place of what is true now."""
    if source[0] in COMPACTED_TOPICS and letters.any_later(source, lambda other: other.key == record.key):
        raise RetryRefusedError("a newer record of the same key holds; to give this one back would undo it")
    if source[0] == "reads" and _reads_everything(record.value):
        raise RetryRefusedError("it would mark as read what came since; the user's next visit marks it")


def _reads_everything(value: bytes) -> bool:
    try:
        body = msgspec.json.decode(value)
    except UNDECODABLE:
        return False
    return isinstance(body, dict) and body.get("up_to") is None


def _refuse_old_work(letters: DeadLetters, source: LogPosition, record: Record) -> None:
    try:
        work = decode_work(record.value)
    except MalformedRecordError as error:
        raise RetryRefusedError(f"it does not decode, so it would fail again ({error_text(error)})") from error
    if isinstance(work, TickWork):
        raise RetryRefusedError("a tick only moves time, and later ones did")
    if isinstance(work, VersionsWork):
        if letters.any_later(source, lambda other: b'"k":"versions"' in other.value):
            raise RetryRefusedError("newer versions are in force; to give this record back would undo them")
    elif not isinstance(work, EventWork | SliceWork) and work.src is not None and work.src[0] in COMPACTED_TOPICS:
        origin = letters.record(work.src[:3])
        if origin is None:
            raise RetryRefusedError(f"{_plain(list(work.src[:3]))}, where it came from, was replaced by a newer record")
        _refuse_superseded(letters, work.src[:3], origin)


def _chosen(
    letters: DeadLetters, selection: Selection, output: Output, *, repeatable: bool
) -> Iterator[FiledLetter | str]:
    """The letters meant; in place of one that cannot be decided about, its id, after saying why.

    Without ids these are the open ones.
    """
    if not selection.ids:
        yield from (each for each in letters.each(selection.wants, undecided=True) if each.status == OPEN)
        return
    found = letters.named(selection.ids)
    for name in dict.fromkeys(selection.ids):
        filed = found.get(name)
        if filed is None:
            yield _refused(output, name, "there is no such dead letter in the log")
        elif filed.status == "discarded" and not repeatable:
            yield _refused(output, name, "it was discarded already")
        elif filed.status == "retried" and not repeatable:
            yield _refused(output, name, "it was retried already")
        else:
            yield filed


def _refused(output: Output, letter_id: str, reason: str) -> str:
    output.show({"id": letter_id, "refused": True, "reason": reason}, f"{letter_id} refused: {reason}")
    return letter_id


def _noted(
    filed: FiledLetter, action: Literal["retried", "discarded"], now_ms: int, by: Decider | None
) -> tuple[AuditRecord, NewRecord]:
    name, role, reason = by or typed(None)
    act = AuditRecord(
        at=now_ms, by=name, role=role, act="retry_letter" if action == "retried" else "discard_letter",
        about={"letter": filed.letter.id}, reason=reason, before={"status": filed.status}, after={"status": action},
    )  # fmt: skip
    return act, dead_action(DeadAction(filed.letter.id, action, now_ms), filed.partition)


def letter_record(filed: FiledLetter) -> dict[str, Any]:
    """A letter and what was decided about it, for JSON."""
    fields: dict[str, Any] = msgspec.to_builtins(filed.letter)
    return fields | {"status": filed.status, "actions": [msgspec.to_builtins(each) for each in filed.actions]}


def _names(letter: DeadLetter) -> dict[str, str | None]:
    return {"event": letter.event_id, "sender": letter.sender_id, "type": letter.type}


def _about(record: Record | None) -> dict[str, Any]:
    """Facts about a record; neither its key, which names a user, nor its value."""
    if record is None:
        return {"retained": False}
    schema = dict(record.headers).get("schema", b"").decode("ascii", "replace")
    return {"retained": True, "bytes": len(record.value), "schema": schema, "appended_at": record.timestamp_ms}


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_plain(each)}" for name, each in value.items())
    if isinstance(value, Iterable) and not isinstance(value, str):
        return "; ".join(map(_plain, value)) if any(isinstance(e, dict) for e in value) else "/".join(map(str, value))
    return "-" if value is None else str(value)


def _time(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
