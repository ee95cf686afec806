"""What a test puts in the place of a function of ours, by the name under which a module uses it."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any


@contextmanager
def replaced(module: ModuleType, **names: Any) -> Iterator[None]:
    """The module uses these instead of its own, until the end."""
    own = {name: vars(module)[name] for name in names}
    vars(module).update(names)
    try:
        yield
    finally:
        vars(module).update(own)
