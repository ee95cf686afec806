"""A small ledger that is whole: every kind of record, decide, transactional, deliver and inbox, two key groups."""

from helpers.records import counts, decision, delivery, emission, record

from connectors.log.interface import NewRecord
from state.model.keys import key_group

MIA, LEO = "mia", "leo"
G, H = key_group(MIA), key_group(LEO)


def add(user: str, event: str, number: int, source: str = "d") -> NewRecord:
    """The inbox operation that belongs to a decision with `inbox`."""
    value = {
        "op": "add",
        "user": user,
        "type": "like",
        "object": "photo",
        "windowed": False,
        "event_id": event,
        "actor": "bob",
        "at": number * 1000,
        "place": number,
    }
    return record("inbox", "inbox/1+json", value, group=key_group(user), seq=(source, number, 0))


def healthy() -> list[NewRecord]:
    """In the order in which the owners wrote it, up to their counts; the inbox flow adds its own."""
    fell_back = {"fell_back_to": "sms", "reason": "channel_down"}
    return [
        decision(MIA, "e1", "AGGREGATING", ("d", 1, 0), inbox=True),
        add(MIA, "e1", 1),
        decision(MIA, "e2", "EMITTED", ("d", 2, 0), emission_id="em1", channels=["push"], inbox=True),
        emission(MIA, "em1", "e2", 2, ("d", 2, 1)),
        add(MIA, "e2", 2),
        decision(MIA, "e3", "SUPPRESSED", ("d", 3, 0), reason="muted"),
        decision(LEO, "e1", "HELD", ("d", 4, 0), until=900_000),
        decision(LEO, "e2", "INBOX", ("d", 5, 0), inbox=True),
        add(LEO, "e2", 5),
        counts("decide", G, 9, seq=("d", 9, 1 << 30), resolved=3, held=0, aggregating=1, emitted=2, inbox_items=2),
        counts("decide", H, 9, seq=("d", 9, 1 << 30), resolved=2, held=1, aggregating=0, emitted=0, inbox_items=1),
        decision(MIA, "p1", "EMITTED", ("t", 1, 0), emission_id="em2", channels=["sms"], inbox=True, type="otp"),
        emission(MIA, "em2", "p1", 1, ("t", 1, 1)),
        add(MIA, "p1", 1, "t"),
        delivery(MIA, "em2", "+49", "DELIVERED", 1500, channel="sms"),
        counts("transactional", G, 1, resolved=1, emitted=1, inbox_items=1, fallbacks=0, in_flight=0),
        delivery(MIA, "em1", "phone", "FELL_BACK", 2500, **fell_back),
        delivery(MIA, "em1", "+49", "DELIVERED", 2600, channel="sms"),
        counts("deliver", G, 2, fallbacks=1, in_flight=1),
    ]
