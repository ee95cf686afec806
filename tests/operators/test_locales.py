"""Plurals and times as languages write them."""

import pytest

from operators.locales import plural_names, plural_text, time_said
from state.model.errors import TemplateError


@pytest.mark.parametrize(
    ("locale", "number", "said"),
    [("en", 1, "1 one"), ("en", 2, "2 other"), ("ru", 3, "3 few"), ("ru", 21, "21 one"), ("ar", 0, "0 zero"),
     ("pt-BR", 0, "0 one"), ("de-XX", 1000, "1.000 other"), ("nonsense", 1, "1 one")],
)  # fmt: skip
def test_the_form_goes_by_the_language(locale: str, number: int, said: str) -> None:
    assert plural_text(locale, number, {name: f"# {name}" for name in plural_names(locale)}) == said


def test_a_plural_without_other_is_an_error() -> None:
    with pytest.raises(TemplateError):
        plural_text("en", 1, {"one": "x"})
    with pytest.raises(ValueError, match="invalid literal"):
        plural_text("en", "x", {"other": "x"})


def test_times_are_on_the_clocks_of_the_zone() -> None:
    assert time_said("de", "2030-01-31T13:05:00Z", "Europe/Berlin", "time") == "14:05"
    assert time_said("fr", "1896095100000", "Europe/Paris", "date") == "31 janvier 2030"
    assert time_said("de", "2030-01-31T13:05:00", None, "time") == "13:05 UTC"
    with pytest.raises(TemplateError):
        time_said("en", "0", None, "epoch")
    with pytest.raises(ValueError, match="isoformat"):
        time_said("en", "soon", None, "date")


def test_a_leap_second_is_the_last_second_of_its_day() -> None:
    assert time_said("en", "2016-12-31T23:59:60Z", None, "datetime") == "Dec 31, 2016, 11:59:59\u202fPM UTC"
    assert time_said("de", "2017-01-01T08:59:60+09:00", "Europe/Berlin", "time") == "00:59"


@pytest.mark.parametrize(
    ("at", "zone"),
    [(10**19, None), (10**20, "Asia/Tokyo"), (253_402_300_799_000, "Asia/Tokyo"),
     ("9999-12-31T23:59:59Z", "Asia/Tokyo"), ("0001-01-01T00:00:00Z", "America/New_York")],
)  # fmt: skip
def test_what_no_calendar_has_is_no_time(at: object, zone: str | None) -> None:
    with pytest.raises(ValueError, match="calendar"):
        time_said("en", at, zone, "date")
