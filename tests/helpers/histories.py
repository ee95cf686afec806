"""What attempts say of deliveries."""

from collections.abc import Iterable

from operators.attempts import DeliveryHistory
from state.model.delivery import Attempt


def fold(records: Iterable[Attempt]) -> dict[str, DeliveryHistory]:
    """By delivery key."""
    histories: dict[str, DeliveryHistory] = {}
    for record in records:
        histories.setdefault(record.key, DeliveryHistory()).apply(record)
    return histories
