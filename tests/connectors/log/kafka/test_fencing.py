"""Which records of a partition are void: the incremental rule of readers against its plain text (TOPICS.md, Fences)."""

from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from connectors.log.interface import Claim
from connectors.log.kafka.fencing import FenceState, marker_value, owner_header, parse_owner, read_marker


class Stored(NamedTuple):
    claim: Claim
    marker: bool


claims = st.builds(Claim, st.sampled_from(["a", "b/c"]), st.integers(0, 2), st.integers(1, 3), st.integers(0, 8))
partitions = st.lists(st.builds(Stored, claims, st.booleans()), max_size=30)


def model(records: list[Stored]) -> list[bool]:
    """Whether each may pass; markers too."""
    fences: list[Claim] = []
    passes = []
    for (flow, process, _, epoch), marker in records:
        mine = [fence for fence in fences if fence.flow == flow and fence.epoch > epoch]
        passes.append(not any(f.process == process or (f.process == 0 and process >= f.processes) for f in mine))
        if marker and passes[-1]:
            fences.append(records[len(passes) - 1].claim)
    return passes


@given(partitions)
def test_readers_keep_only_the_markers_that_matter_and_judge_as_all_of_them_say(records: list[Stored]) -> None:
    passage, passes = FenceState(), model(records)
    for (claim, marker), expected in zip(records, passes, strict=True):
        if marker:
            passage.meet(claim)
        else:
            assert (passage.judge(owner_header(claim)[1]) == "valid") is expected
    assert len(passage._claims) <= 12, "what is covered by a later one is forgotten"


@given(partitions, st.integers(0, 30))
def test_who_begins_in_the_middle_judges_as_who_began_at_the_begin(records: list[Stored], start: int) -> None:
    passage = FenceState(stored.claim for stored in records[:start] if stored.marker)
    found = []
    for claim, marker in records[start:]:
        if marker:
            passage.meet(claim)
        else:
            found.append(passage.judge(owner_header(claim)[1]) == "valid")
    expected = zip(records[start:], model(records)[start:], strict=True)
    assert found == [passes for stored, passes in expected if not stored.marker]


@given(claims)
def test_headers_and_markers_say_what_was_put_in(claim: Claim) -> None:
    header = owner_header(claim)
    assert parse_owner(header[1]) == (claim.flow, claim.process, claim.epoch)
    assert read_marker([("schema", b"fence/1+json"), header], marker_value(claim)) == claim
    assert read_marker([("schema", b"work/1+json"), header], marker_value(claim)) is None


def test_what_has_another_form_is_none_of_ours() -> None:
    passage = FenceState([Claim("a", 0, 1, 5)])
    for value in (b"", b"bob", b"a/0", b"a/0:", b"a/x:1", b"/0:1", b"a/0:-1", b"\xff", "a/0:\u0661".encode()):
        assert passage.judge(value) == "foreign"
    assert passage.judge(b"a/0:4") == "void"
    for content in (b"no json", b'{"x":' + b"[" * 60_000, b'{"x":"\xff"}', b"\xff"):
        assert read_marker([("schema", b"fence/1+json"), ("owner", b"a/0:1")], content) is None
    assert read_marker([("schema", b"fence/1+json"), ("other", b"a/0:1")], b'{"processes":1}') is None
