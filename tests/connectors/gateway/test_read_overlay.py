"""What users said, until the store honours it."""

from connectors.gateway.read_overlay import ReadOverlay
from connectors.inbox.interface import LoggedRead, RowPage
from connectors.log.interface import Record
from state.model.settings import READ, ReadRecord


def said(offset: int, up_to: int | None = None) -> LoggedRead:
    return LoggedRead(offset, 1_000 + offset, ReadRecord("anne", up_to))


def page(logged: int, read_up_to: int | None = None) -> RowPage:
    return RowPage((), None, 0, read_up_to, logged)


def test_it_is_kept_in_the_order_of_the_log_whoever_is_first() -> None:
    overlay = ReadOverlay()
    overlay.add(said(7))
    overlay.add(said(9))
    for offset in (5, 7, 8):
        value = READ.encode(ReadRecord("anne"))
        overlay.on_record(Record("reads", 0, offset, 1_000 + offset, b"anne", value, READ.headers))
    assert overlay.of("anne") == tuple(map(said, (5, 7, 8, 9)))
    assert overlay.of("bob") == ()


def test_it_is_forgotten_once_the_store_honours_it() -> None:
    overlay = ReadOverlay()
    for offset in (5, 7, 9):
        overlay.add(said(offset))
    overlay.forget("anne", page(7))
    assert overlay.of("anne") == (said(9),)
    overlay.add(said(7))
    overlay.forget("anne", page(9))
    assert overlay.of("anne") == ()
    overlay.forget("anne", page(9))


def test_a_store_of_an_earlier_release_tells_times_only() -> None:
    overlay = ReadOverlay()
    marked = LoggedRead(6, 1, ReadRecord("anne", 0, status="archived"))
    for each in (said(5, 50), marked, said(7, 70), said(8)):
        overlay.add(each)
    overlay.forget("anne", page(-1, 60))
    assert overlay.of("anne") == (marked, said(7, 70), said(8))


def test_it_has_bounds() -> None:
    overlay = ReadOverlay()
    for offset in range(1_100):
        overlay.add(said(offset))
    assert [overlay.of("anne")[0].offset, len(overlay.of("anne"))] == [100, 1_000]
    for number in range(200):
        for offset in range(1_000):
            overlay.add(LoggedRead(offset, 1, ReadRecord(f"u{number}", 1)))
    assert overlay.of("anne") == ()
    assert len(overlay.of("u1")) == 1_000
