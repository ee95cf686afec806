"""Dead letters of senders, as decide writes them."""

from helpers.records import now_ms

from connectors.log.interface import NewRecord
from state.model.dead_letter import LETTER_SCHEMA, DeadLetter, Kind, encode_letter, letter_id


def letter(
    sender: str | None,
    offset: int,
    kind: Kind = "raised",
    *,
    age_ms: int = 0,
    partition: int = 0,
    type_name: str = "like",
) -> NewRecord:
    source = ("work", partition, offset)
    value = DeadLetter(
        id=letter_id("decide", source, 7), source=source, group=7, kind=kind, error="KeyError in operators.gate:1",
        event_id=f"e{offset}", sender_id=sender, type=type_name, stage="decide", at=now_ms() - age_ms,
    )  # fmt: skip
    return NewRecord("dead_letters", partition, b"x", encode_letter(value), (("schema", LETTER_SCHEMA),))
