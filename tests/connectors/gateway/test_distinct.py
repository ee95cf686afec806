"""Counting different texts, however many there are."""

from pathlib import Path

import pytest

from connectors.gateway.distinct import DistinctCount


@pytest.mark.parametrize("texts", [0, 1, 65_535, 65_536, 65_537, 200_000])
@pytest.mark.parametrize("times", [1, 3])
def test_each_is_counted_once(tmp_path: Path, texts: int, times: int) -> None:
    with DistinctCount(tmp_path) as distinct:
        for _ in range(times):
            for number in range(texts):
                distinct.add(f"user-{number}")
        assert distinct.count() == texts
    assert list(tmp_path.iterdir()) == []
