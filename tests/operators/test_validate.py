"""What is wrong with a document, all at once; and that msgspec, by which the schemas are made, judges alike."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.validate import ERRORS_MAX, document_errors, text_errors
from state.model.admission import FieldError
from state.model.documents import Follow, NewEvent, PreferenceDocument, ReadUpTo, SegmentMembers

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 2**53 + 1) | st.floats(allow_nan=False) | st.sampled_from(
        ["", "x", "22:00", "24:00", "22:00\n", "Europe/Paris", "push", "a\u0301", "x" * 257, "\x00", "like", "Mars/B"]
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["enabled", "channels", "start", "timezone", "like", "x", "push", "actors", "max_per_day"]),
        inner, max_size=3,
    ),
    max_leaves=6,
)  # fmt: skip


def documents_of(kind: type[msgspec.Struct]) -> st.SearchStrategy[dict[str, Any]]:
    names = [field.encode_name for field in msgspec.structs.fields(kind)]
    return st.dictionaries(st.sampled_from([*names, "unknown"]), VALUES, max_size=5)


@given(documents_of(PreferenceDocument))
def test_whatever_msgspec_refuses_of_preferences_is_an_error(document: dict[str, Any]) -> None:
    agrees(document, PreferenceDocument)


@given(documents_of(NewEvent))
def test_whatever_msgspec_refuses_of_an_event_is_an_error(document: dict[str, Any]) -> None:
    agrees(document, NewEvent)


def agrees(document: dict[str, Any], kind: type[msgspec.Struct]) -> None:
    """Checks ask for more than types; so no error means that msgspec finds none, and one of msgspec's is never lost."""
    errors = document_errors(document, kind)
    try:
        msgspec.convert(document, kind)
    except msgspec.ValidationError:
        assert errors
    else:
        assert all(error.problem in BEYOND_TYPES for error in errors)


BEYOND_TYPES = {
    "is not in Unicode form NFC", "is no IANA time zone", "names one twice", "is nested deeper than 8 levels",
}  # fmt: skip


def test_every_error_has_its_path() -> None:
    document = {
        "actors": 1,
        "types": {"like": {"channels": ["push", "push"]}, "": None},
        "muted": {"actors": ["a", 1, ""]},
    }
    assert {error.path for error in document_errors(document, PreferenceDocument)} == {
        "actors", "types.like.channels", "types.", "muted.actors[1]", "muted.actors[2]",
    }  # fmt: skip


def test_a_null_counts_as_absent() -> None:
    assert document_errors({"up_to": None}, ReadUpTo) == []
    assert document_errors({"followee": None, "follower": "x"}, Follow) == [
        FieldError("followee", "is missing", "send it")
    ]


def test_errors_are_no_more_than_an_answer_should_name() -> None:
    assert len(document_errors({"users": [0] * 10_000}, SegmentMembers)) == ERRORS_MAX


@pytest.mark.parametrize("text", ["", "x" * 257, "a\nb", "\x7f", "e\u0301", "\ud800", 5, None, True])
def test_what_is_no_identifier(text: object) -> None:
    (error,) = text_errors("user", text)
    assert error.path == "user"
    assert str(text) not in error.problem or len(str(text)) < 5


def test_what_is_one() -> None:
    assert all(text_errors("user", text) == [] for text in ("x", "é", "مرحبا 🙂", "x" * 256, "a b"))
