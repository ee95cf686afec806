"""Acts that need two people, as the records of the topic decide them: by their order, and by nothing else."""

from typing import Any

import pytest

from state.model.audit import ApprovalRecord, ApprovalStep, AuditRecord, PendingAct, pending_acts

UNTIL = 600_000


def step(kind: ApprovalStep, *, at: int = 1, who: str = "key ann", of: str | None = "0") -> ApprovalRecord:
    return ApprovalRecord(
        at=at, by=who, role="ops", act="kill", about={"scope": "all"}, step=kind, until=UNTIL, subject=who, approval=of
    )


def the_one(*records: AuditRecord, log_ms: int = 0) -> PendingAct:
    (found,) = pending_acts((offset, log_ms or each.at, each) for offset, each in enumerate(records))
    return found


PROPOSED = step("proposed", of=None)


def test_it_waits_until_its_time_is_over() -> None:
    found = the_one(PROPOSED)
    assert (found.id, found.state(UNTIL - 1), found.state(UNTIL)) == ("0", "proposed", "expired")
    assert not found.unfinished


@pytest.mark.parametrize(
    ("steps", "state", "at"),
    [
        ([step("confirmed", who="key bob")], "confirmed", 1),
        ([step("confirmed", who="key ann")], "proposed", -1),
        ([step("confirmed", who="key bob", at=UNTIL)], "proposed", -1),
        ([step("confirmed", who="key bob", of="7")], "proposed", -1),
        ([step("refused", who="key ann"), step("confirmed", who="key bob")], "refused", 1),
        ([step("confirmed", who="key ann"), step("confirmed", who="key bob"), step("refused")], "confirmed", 2),
        ([step("expired", who="", at=UNTIL), step("confirmed", who="key bob", at=5)], "expired", 1),
    ],
)
def test_the_first_step_that_holds_decides(steps: list[ApprovalRecord], state: str, at: int) -> None:
    found = the_one(PROPOSED, *steps)
    assert (found.state(2), found.decided_at) == (state, at)


def test_a_confirmation_that_the_log_took_too_late_does_not_count() -> None:
    found = the_one(PROPOSED, step("confirmed", who="key bob", at=5), log_ms=UNTIL)
    assert found.decided is None


def test_it_is_unfinished_until_what_was_done_is_noted() -> None:
    confirmed = step("confirmed", who="key bob")
    done: dict[str, Any] = {"at": 3, "by": "ann", "role": "ops", "act": "kill"}
    assert the_one(PROPOSED, confirmed).unfinished
    assert the_one(PROPOSED, confirmed, AuditRecord(**done, about={"scope": "all"})).unfinished
    about = {"scope": "all", "approval": "0"}
    carried_out = the_one(PROPOSED, confirmed, AuditRecord(**done, about=about))
    assert (carried_out.unfinished, carried_out.done, carried_out.not_done) == (False, True, None)
    overtaken = the_one(PROPOSED, confirmed, AuditRecord(**done, about=about, after={"not_done": "too late"}))
    assert (overtaken.unfinished, overtaken.done, overtaken.not_done) == (False, False, "too late")


@pytest.mark.parametrize(
    ("about", "unfinished"),
    [({"scope": "all"}, False), ({"scope": "all", "value": ""}, False), ({"scope": "type", "value": "otp"}, True)],
)
def test_what_was_lifted_since_it_was_confirmed_is_not_carried_out(about: dict[str, str], unfinished: bool) -> None:
    lifted = AuditRecord(at=3, by="max", role="command line", act="lift", about=about)
    assert the_one(PROPOSED, step("confirmed", who="key bob"), lifted).unfinished is unfinished
    assert the_one(PROPOSED, lifted, step("confirmed", who="key bob")).unfinished, "it was asked for later"
