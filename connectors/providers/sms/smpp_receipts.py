"""What an SMSC says of a message later: receipts, which are deliver_sm with a text of a usual form.

`id:ID sub:001 dlvrd:001 submit date:... done date:... stat:DELIVRD err:000 text:...`, and often the optional fields
receipted_message_id and message_state, which count where they are there. Receipts name a message by what the SMSC
called it in its answer. They come late, twice, out of order, and some before that answer.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, NamedTuple

from connectors.providers.sms.smpp_pdu import MESSAGE_STATE, RECEIPT, RECEIPTED_MESSAGE_ID, ShortMessage
from state.model.outcome import DELIVERED, FAILED, UNDELIVERED

IdForm = Literal["same", "decimal", "hex"]
REMEMBERED_MAX = 100_000
EARLY_MAX = 1_000
_KIND = 0x3C
"""The bits of esm_class that say what a message is."""
_FIELD = re.compile(r"\b(id|stat|err):(\S*)", re.IGNORECASE)
_STATES = {2: "DELIVRD", 3: "EXPIRED", 4: "DELETED", 5: "UNDELIV", 6: "ACCEPTD", 7: "UNKNOWN", 8: "REJECTD"}
_OUTCOMES = {"DELIVRD": DELIVERED, "EXPIRED": UNDELIVERED, "UNDELIV": UNDELIVERED, "DELETED": FAILED, "REJECTD": FAILED}
"""Those that are final: what was accepted, or is unknown to the SMSC, may still arrive."""
_REASON = re.compile(r"[0-9A-Za-z]{1,8}")


@dataclass(frozen=True, slots=True)
class Receipt:
    """What one says."""

    message_id: str
    outcome: str | None
    """In the words of `state.model.outcome`; None: nothing that is final."""
    reason: str | None = None
    """The state and the SMSC's own code, where it did not arrive."""
    by_text: bool = False
    """It names the message in its text, perhaps in another form than the answer did."""


def read_receipt(message: ShortMessage) -> Receipt | None:
    """None: it is no receipt, or names no message."""
    if message.esm_class & _KIND != RECEIPT:
        return None
    fields = _FIELD.findall(message.text.decode("latin-1"))
    said = {name.lower(): value for name, value in reversed(fields)}  # the first counts: our own text is the last
    tagged = message.tlvs.get(RECEIPTED_MESSAGE_ID, b"").rstrip(b"\0").decode("latin-1")
    named, by_text = tagged or said.get("id", ""), not tagged
    if not named:
        return None
    coded = message.tlvs.get(MESSAGE_STATE, b"")
    state = _STATES.get(coded[0], "") if coded else said.get("stat", "").upper()[:7]
    outcome, code = _OUTCOMES.get(state), said.get("err", "")
    if outcome in (None, DELIVERED):
        return Receipt(named, outcome, by_text=by_text)
    known = _REASON.fullmatch(code) is not None and code.strip("0") != ""
    return Receipt(named, outcome, f"{state} {code}" if known else state, by_text)


class SentText(NamedTuple):
    """A delivery, as far as its receipt has to tell of it."""

    emission_id: str
    user: str
    device: str
    first_event_id: str | None = None
    at: int = 0
    """When it was taken, in ms UTC: an SMSC may use a name again."""


class SentMessages:
    """Which delivery a message was, for as long as it is among the last ones. Receipts that come early wait for it."""

    def __init__(self, id_form: IdForm) -> None:
        """`id_form`: how receipts write the numbers that answers write in the other of the two forms."""
        self._id_form = id_form
        self._texts = dict[str, SentText]()
        self._early = dict[str, Receipt]()

    def sent(self, message_id: str, text: SentText) -> Receipt | None:
        """Remember it; the receipt that was there before, if one was."""
        name = _plain(message_id)
        known = self._texts.get(name)
        if known is None or (known.at <= text.at and known[:3] != text[:3]):
            self._texts[name] = text
            _forget(self._texts, REMEMBERED_MAX)
        return self._early.pop(name, None)

    def find(self, receipt: Receipt) -> SentText | None:
        """Whose it is; None: of nobody who is remembered."""
        return self._texts.get(self._named(receipt))

    def expect(self, receipt: Receipt) -> None:
        """Let it wait for its message for a while."""
        if receipt.outcome is not None:
            self._early[self._named(receipt)] = receipt
            _forget(self._early, EARLY_MAX)

    def _named(self, receipt: Receipt) -> str:
        return self._as_answered(receipt.message_id) if receipt.by_text else _plain(receipt.message_id)

    def _as_answered(self, message_id: str) -> str:
        try:
            if self._id_form == "decimal":
                return _plain(f"{int(message_id):x}")
            if self._id_form == "hex":
                return _plain(str(int(message_id, 16)))
        except ValueError:
            pass  # no number: as it is
        return _plain(message_id)


def _plain(message_id: str) -> str:
    """Without what differs between two writings of one number."""
    return message_id.strip().lower().lstrip("0")


def _forget(remembered: dict[str, SentText] | dict[str, Receipt], most: int) -> None:
    if len(remembered) > most:
        del remembered[next(iter(remembered))]
