"""What the subcommands share."""

import pytest
import typer

from flows.commands.shared import moment_ms


def test_times_are_read_as_iso_or_milliseconds() -> None:
    assert moment_ms("1700000000000") == 1_700_000_000_000
    assert moment_ms("2023-11-14T22:13:20Z") == moment_ms("2023-11-14T22:13:20") == 1_700_000_000_000
    with pytest.raises(typer.BadParameter, match="write 2026"):
        moment_ms("yesterday")


@pytest.mark.parametrize("text", ["1700000000000000", "1700000000000000000", "9" * 20])
def test_a_number_of_another_unit_is_no_time(text: str) -> None:
    assert moment_ms("253402300799999") == 253_402_300_799_999
    with pytest.raises(typer.BadParameter, match="milliseconds since 1970"):
        moment_ms(text)
