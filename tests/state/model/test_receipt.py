"""References to deliveries: only ours are read."""

from state.model.receipt import ReferenceKeys, SentDelivery
from state.model.unsubscribe import LinkKeys, Unsubscription

SENT = SentDelivery("zoe/ä", "em_1f", "sms", "phone", 1_700_000_000_000)
KEYS = ReferenceKeys([b"k" * 32])


def test_a_reference_is_read_by_any_key_of_ours_and_by_no_other() -> None:
    reference = KEYS.sign(SENT)
    assert ReferenceKeys([b"new" * 16, b"k" * 32]).read(reference) == SENT
    assert ReferenceKeys([b"x" * 32]).read(reference) is None
    for place in range(0, len(reference), 5):
        other = "A" if reference[place] != "A" else "B"
        assert KEYS.read(reference[:place] + other + reference[place + 1 :]) is None


def test_a_link_is_no_reference() -> None:
    link = LinkKeys([b"k" * 32]).sign(Unsubscription("zoe", "email", ("a", "b"), 1))
    assert KEYS.read(link) is None
    assert KEYS.read("") is None
