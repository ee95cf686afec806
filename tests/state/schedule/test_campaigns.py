"""Campaigns by the order of their topic: what counts and what does not."""

from typing import Any

import pytest

from state.model.campaign import (
    CAMPAIGN_ACT,
    CAMPAIGN_CHUNK,
    CAMPAIGN_ORDER,
    CAMPAIGN_RELEASED,
    CampaignAct,
    CampaignAudience,
    CampaignChunk,
    CampaignOrder,
    CampaignReleased,
    CampaignText,
    campaign_key,
)
from state.schedule.campaign import TWO_APPROVE_ABOVE, Campaign
from state.schedule.campaigns import TESTS_A_DAY, CampaignBook


class Told:
    """A book, and acts by short words."""

    def __init__(self) -> None:
        self.book, self._offset = CampaignBook(), 0

    @property
    def campaign(self) -> Campaign:
        return self.book.campaigns["sale"]

    def act(self, verb: Any, by: str, revision: int | None = None, **given: Any) -> str | None:
        known = self.book.campaigns.get("sale")
        seen = revision if revision is not None else 0 if known is None else known.revision
        self._offset += 1
        act = CampaignAct(id=f"a{self._offset}", campaign="sale", revision=seen, verb=verb, by=by, at=1, **given)
        self.book.take(CAMPAIGN_ACT.json, campaign_key("sale", "act", act.id), CAMPAIGN_ACT.encode(act), self._offset)
        return self.book.refusals[act.id]

    def test(self, by: str, generation: int, at: int = 1) -> CampaignOrder | None:
        """A test; the order that it leads to."""
        self._offset += 1
        act = CampaignAct(
            id=f"t{self._offset}", campaign="sale", revision=self.campaign.revision, verb="test", by=by, at=at,
            test=generation, text=self.campaign.text,
        )  # fmt: skip
        return self.book.take(CAMPAIGN_ACT.json, b"", CAMPAIGN_ACT.encode(act), self._offset)

    def chunk(self, number: int, generation: int = 1) -> None:
        self._offset += 1
        chunk = CampaignChunk("sale", generation, number, "UTC", 1, [f"u{number}"])
        key = campaign_key("sale", "chunk", generation, number)
        self.book.take(CAMPAIGN_CHUNK.json, key, CAMPAIGN_CHUNK.encode(chunk), self._offset)

    def order(self, number: int, generation: int = 1, at: int = 5) -> bool:
        order = CampaignOrder("sale", generation, number, at)
        return self.book.take(CAMPAIGN_ORDER.json, b"", CAMPAIGN_ORDER.encode(order), 0) is not None


def prepared(recipients: int = 3, chunks: int = 3) -> Told:
    told = Told()
    assert told.act("create", "ann", text=CampaignText("newsletter")) is None
    for number in range(chunks):
        told.chunk(number)
    assert told.act("audience", "ann", audience=CampaignAudience(1, chunks, recipients)) is None
    return told


def running() -> Told:
    told = prepared()
    assert told.act("approve", "bob") is None
    assert told.act("start", "ann") is None
    return told


def test_whoever_changed_it_last_does_not_approve_it_and_without_approval_it_does_not_start() -> None:
    told = prepared()
    assert told.act("start", "ann") == "it has 0 of 1 approvals"
    assert "another person" in (told.act("approve", "ann") or "")
    assert told.act("approve", "bob") is None
    assert told.act("start", "ann") is None
    assert told.campaign.state == "running"


def test_a_person_by_another_name_is_the_same_one() -> None:
    told = prepared(TWO_APPROVE_ABOVE + 1)
    assert told.act("edit", "ann", subject="account 1", text=CampaignText("promotion")) is None
    assert "another person" in (told.act("approve", "anna", subject="account 1") or "")
    assert told.act("approve", "bob", subject="account 2") is None
    assert told.act("approve", "bobby", subject="account 2") == "you have approved it"
    assert told.act("approve", "eve", subject="account 3") is None
    assert told.act("edit", "bob", subject="account 2", text=CampaignText("promotion")) is None
    assert told.act("approve", "anna", subject="account 1") is None, "another one changed it last"


def test_people_of_one_name_are_two_if_their_accounts_are() -> None:
    told = prepared(TWO_APPROVE_ABOVE + 1)
    assert told.act("edit", "ann", subject="account 1", text=CampaignText("promotion")) is None
    assert told.act("approve", "ann") is not None, "who comes without an account goes by his name"
    assert told.act("approve", "ann", subject="account 2") is None
    assert told.act("approve", "ann", subject="account 2") == "you have approved it"
    assert told.act("approve", "ann", subject="account 3") is None
    assert told.act("start", "ann", subject="account 1") is None


@pytest.mark.parametrize("edit", ["edit", "audience"])
def test_any_edit_voids_approvals(edit: str) -> None:
    told = prepared()
    told.act("approve", "bob")
    given: dict[str, Any] = (
        {"text": CampaignText("promotion")} if edit == "edit" else {"audience": CampaignAudience(2, 1, 1)}
    )
    assert told.act(edit, "bob", **given) is None
    assert told.campaign.approvals == []
    assert told.act("start", "ann") == "it has 0 of 1 approvals"
    assert told.act("approve", "bob") is not None, "he changed it last"
    assert told.act("approve", "ann") is None


@pytest.mark.parametrize(("recipients", "needed"), [(TWO_APPROVE_ABOVE, 1), (TWO_APPROVE_ABOVE + 1, 2)])
def test_a_large_audience_needs_two_different_people(recipients: int, needed: int) -> None:
    told = prepared(recipients)
    assert told.act("approve", "bob") is None
    assert (told.act("start", "ann") is None) == (needed == 1)
    if needed == 2:
        assert told.act("approve", "bob") == "you have approved it"
        assert told.act("approve", "eve") is None
        assert told.act("start", "ann") is None


def test_of_two_who_act_on_the_same_revision_one_is_refused() -> None:
    told = prepared()
    seen = told.campaign.revision
    assert told.act("edit", "eve", seen, text=CampaignText("promotion")) is None
    assert "meanwhile" in (told.act("approve", "bob", seen) or ""), "he has not seen what he would approve"


def test_a_test_changes_nothing_that_people_have_looked_at() -> None:
    told = prepared()
    assert told.act("approve", "bob") is None
    seen = told.campaign.revision
    assert told.test("ann", 5) == CampaignOrder("sale", 5, 0, 1)
    assert (told.campaign.revision, told.campaign.approvals, told.campaign.ordered) == (seen, ["bob"], {})
    assert told.book.tests == {("sale", 5): CampaignText("newsletter")}
    released = CampaignReleased("sale", 5, 0, 1, 2)
    told.book.take(CAMPAIGN_RELEASED.json, b"", CAMPAIGN_RELEASED.encode(released), 9)
    assert (told.book.tests, told.campaign.released) == ({}, {}), "it is no part of the campaign"
    assert told.act("start", "ann") is None
    assert told.test("ann", 6) is not None, "also while it runs"
    assert told.act("cancel", "ann") is None
    assert told.test("ann", 7) is None


def test_one_person_sends_few_tests_a_day() -> None:
    told, day = prepared(), 86_400_000
    assert all(told.test("ann", number, at=number) is not None for number in range(1, TESTS_A_DAY + 1))
    assert told.test("ann", 90, at=day) is None, "the first is not a day old"
    assert told.test("bob", 91, at=day) is not None, "another person"
    assert told.test("ann", 92, at=day + 1) is not None
    assert told.test("ann", 93, at=day + 1) is None


def test_an_order_counts_where_the_campaign_runs_and_once() -> None:
    told = prepared()
    assert not told.order(0), "it is a draft"
    told.act("approve", "bob")
    told.act("start", "ann")
    assert told.order(0)
    assert not told.order(0)
    told.act("pause", "ann")
    assert not told.order(1)
    told.act("resume", "ann")
    assert told.order(1)
    assert not told.order(2, generation=2), "of another audience"
    told.act("cancel", "ann")
    assert not told.order(2)
    assert [chunk for _, _, chunk in told.book.garbage()] == [2]
    assert sorted(told.campaign.ordered) == [0, 1]


def staged(hold_ms: int | None = None) -> Told:
    """Three chunks in two stages, running."""
    told = Told()
    assert told.act("create", "ann", text=CampaignText("newsletter")) is None
    for number in range(3):
        told.chunk(number)
    audience = CampaignAudience(1, 3, 3, stages=[10, 100], stage_chunks=[2, 3])
    assert told.act("audience", "ann", audience=audience) is None
    assert told.act("advance", "ann") == "it is draft; this is for one that is running or paused"
    assert told.act("approve", "bob") is None
    assert told.act("start", "ann", hold_ms=hold_ms) is None
    return told


def test_a_stage_goes_when_it_is_told_to() -> None:
    told = staged()
    assert told.campaign.open_chunks(10**15) == 2
    assert told.order(0)
    assert told.order(1)
    assert told.campaign.open_chunks(10**15) == 2
    assert told.act("pause", "ann") is None
    assert told.act("advance", "ann") is None
    assert (told.campaign.open_chunks(0), told.campaign.state) == (3, "paused")
    assert told.act("advance", "ann") == "it has no further stage"
    assert told.act("resume", "ann") is None
    assert told.order(2)
    assert told.campaign.is_done


def test_a_stage_goes_by_itself_when_its_hold_is_over_and_what_has_begun_stays_open() -> None:
    told = staged(hold_ms=100)
    assert told.order(0, at=7)
    assert told.campaign.open_chunks(10_000) == 2, "the one before has not gone as a whole"
    assert told.order(1, at=50)
    assert [told.campaign.open_chunks(now) for now in (149, 150)] == [2, 3]
    assert told.campaign.stage == 0
    assert told.order(2, at=150)
    assert (told.campaign.stage, told.campaign.open_chunks(0)) == (1, 3)


def test_without_stages_there_is_nothing_to_hold() -> None:
    told = prepared()
    assert told.act("approve", "bob") is None
    assert told.act("start", "ann", hold_ms=1) == "its file was sent without stages"
    assert told.act("start", "ann") is None
    assert told.act("advance", "ann") == "it has no further stage"
    assert told.campaign.open_chunks(0) == 3


def test_what_is_over_takes_no_act_any_more() -> None:
    told = running()
    for number in range(3):
        told.order(number)
    assert told.campaign.is_done
    assert {told.act(verb, "ann") for verb in ("pause", "resume", "cancel", "edit")} == {"it is done"}


def test_chunks_of_an_audience_that_was_replaced_are_never_released() -> None:
    told = prepared()
    told.chunk(0, generation=2)
    assert list(told.book.garbage()) == []
    told.act("audience", "ann", audience=CampaignAudience(2, 1, 1))
    assert sorted(told.book.garbage()) == [("sale", 1, 0), ("sale", 1, 1), ("sale", 1, 2)]
    for _, generation, number in list(told.book.garbage()):
        told.book.take(b"", campaign_key("sale", "chunk", generation, number), b"", 0)
    assert list(told.book.garbage()) == []


def test_of_what_is_over_no_chunk_stays_that_was_not_released() -> None:
    told = Told()
    assert told.act("create", "ann", text=CampaignText("newsletter")) is None
    told.chunk(0, generation=3)
    assert list(told.book.garbage()) == [], "its file is still being read"
    told.act("cancel", "ann")
    assert list(told.book.garbage()) == [("sale", 3, 0)], "whoever read it died"
    told = running()
    told.chunk(0, generation=2)
    for number in range(3):
        told.order(number)
    assert list(told.book.garbage()) == [("sale", 2, 0)]


def test_a_time_of_day_is_that_of_each_zone() -> None:
    told = prepared()
    told.act("approve", "bob")
    told.act("start", "ann", start_local="2026-12-01T09:00")
    paris, tokyo = told.campaign.due_at("Europe/Paris"), told.campaign.due_at("Asia/Tokyo")
    assert paris - tokyo == 8 * 3_600_000
    assert told.campaign.due_at("UTC") == 1_796_115_600_000
