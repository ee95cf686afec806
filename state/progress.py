"""How much each thread of this process got done, as a number that only grows.

Whoever takes up a record, or the next part of something long, counts it here. A flow none of whose threads counts
anything for long stands still, whatever the other threads of its process do (`flows.process.liveness`). Costs 0.15 us.
"""

from threading import get_ident

_made: dict[int, int] = {}


def made() -> None:
    """This thread got on."""
    thread = get_ident()
    _made[thread] = _made.get(thread, 0) + 1


def made_by(thread: int) -> int:
    """What a thread, by its number, counted so far; the number of one that ended may come again."""
    return _made.get(thread, 0)
