"""What keys of a lane's file begin with, so that rows which are written together lie together."""

from __future__ import annotations

import xxhash

NEAR_BYTES = 4
"""Two fan-outs that share them lie side by side, no more."""


def near(shared: str) -> bytes:
    """Of what many have in common."""
    return xxhash.xxh3_64_digest(shared.encode("utf-8", "surrogatepass"))[:NEAR_BYTES]
