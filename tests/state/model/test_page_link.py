"""Links to the page of preferences: of our keys, for their time, and good for nothing else."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from state.model.page_link import PageKeys, PageLink
from state.model.unsubscribe import LinkKeys, Unsubscription

KEY, BEFORE = b"k" * 32, b"b" * 40
TEXT = st.text(st.characters(), max_size=60)


@given(TEXT, TEXT, st.integers(0, 2**50))
def test_a_link_is_good_until_its_end(user: str, language: str, ends_at: int) -> None:
    link = PageLink(user, language, ends_at)
    token = PageKeys([KEY]).sign(link)
    assert PageKeys([BEFORE, KEY]).read(token, now_ms=ends_at - 1) == link
    assert PageKeys([KEY]).read(token, now_ms=ends_at) is None
    assert PageKeys([BEFORE]).read(token, now_ms=ends_at - 1) is None
    assert LinkKeys([KEY]).read(token) is None


@given(TEXT)
def test_a_link_to_unsubscribe_opens_no_page(user: str) -> None:
    token = LinkKeys([KEY]).sign(Unsubscription(user, "", (), 2**50))
    assert PageKeys([KEY]).read(token, now_ms=0) is None
