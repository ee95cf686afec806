"""What every look at the sources needs."""

import gc
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def _nothing_is_collected() -> Iterator[None]:
    """In Python 3.11 `ast.parse` fails if the collector ends something in the midst of it whose warning is printed with
    its line: for that a second `ast.parse` runs inside the first.
    """
    gc.disable()
    yield
    gc.enable()
