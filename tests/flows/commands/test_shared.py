"""What the subcommands share."""

import pytest
import typer

from flows.commands.shared import moment_ms


def test_times_are_read_as_iso_or_milliseconds() -> None:
    assert moment_ms("1700000000000") == 1_700_000_000_000
    assert moment_ms("2023-11-14T22:13:20Z") == moment_ms("2023-11-14T22:13:20") == 1_700_000_000_000
    with pytest.raises(typer.BadParameter, match="write 2026"):
        moment_ms("yesterday")
