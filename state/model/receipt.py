"""The signed reference by which a provider's receipt says of which delivery it is; nothing has to be looked up.

It goes out with the message, where only the provider and its receiver see it, and is a token of `state.model.signed`:
when the address was registered, then user, emission, channel and device. So a receipt can tell of no delivery that was
never sent, and retire no address that is newer than the delivery.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from state.model.signed import Signed, TokenKeys

_PURPOSE = b"carillon receipt 1\0"


class SentDelivery(NamedTuple):
    """What a reference names."""

    user: str
    emission_id: str
    channel: str
    device: str
    registered_at: int
    """When the address was registered, in milliseconds."""


class ReferenceKeys:
    """Signs references with the first key, and reads those of every key."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        """Without keys no reference is good, and none can be signed."""
        self._tokens = TokenKeys(_PURPOSE, keys)

    def sign(self, sent: SentDelivery) -> str:
        """The reference; the same for the same delivery."""
        return self._tokens.sign(Signed(sent.registered_at, sent[:4]))

    def read(self, reference: str) -> SentDelivery | None:
        """The delivery; None if none of the keys signed exactly this reference."""
        said = self._tokens.read(reference)
        if said is None:
            return None
        user, emission_id, channel, device = said.texts
        return SentDelivery(user, emission_id, channel, device, said.moment)
