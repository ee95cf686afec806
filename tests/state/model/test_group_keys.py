"""The spellings of key groups against SipHash-1-3 itself, and against where Bytewax really sends them."""

from typing import Any

import bytewax.operators as op
import pytest
from bytewax.dataflow import Dataflow
from bytewax.testing import TestingSink, TestingSource, cluster_main

from state.model.group_keys import GROUP_KEYS

MASK = (1 << 64) - 1


def _rotate(value: int, bits: int) -> int:
    return ((value << bits) | (value >> (64 - bits))) & MASK


def _round(v0: int, v1: int, v2: int, v3: int) -> tuple[int, int, int, int]:
    v0 = (v0 + v1) & MASK
    v1 = _rotate(v1, 13) ^ v0
    v0 = _rotate(v0, 32)
    v2 = (v2 + v3) & MASK
    v3 = _rotate(v3, 16) ^ v2
    v0 = (v0 + v3) & MASK
    v3 = _rotate(v3, 21) ^ v0
    v2 = (v2 + v1) & MASK
    v1 = _rotate(v1, 17) ^ v2
    return v0, v1, _rotate(v2, 32), v3


def siphash13(data: bytes) -> int:
    """SipHash-1-3 with zero keys."""
    v = (0x736F6D6570736575, 0x646F72616E646F6D, 0x6C7967656E657261, 0x7465646279746573)
    whole = len(data) - len(data) % 8
    words = [int.from_bytes(data[i : i + 8], "little") for i in range(0, whole, 8)]
    words.append((len(data) & 0xFF) << 56 | int.from_bytes(data[whole:], "little"))
    for word in words:
        v0, v1, v2, v3 = _round(v[0], v[1], v[2], v[3] ^ word)
        v = (v0 ^ word, v1, v2, v3)
    v = (v[0], v[1], v[2] ^ 0xFF, v[3])
    for _ in range(3):
        v = _round(*v)
    return v[0] ^ v[1] ^ v[2] ^ v[3]


def test_every_spelling_hashes_to_its_group() -> None:
    assert [siphash13(key.encode() + b"\xff") % 240 for key in GROUP_KEYS] == list(range(240))
    assert [int(key.partition(".")[0]) for key in GROUP_KEYS] == list(range(240))


@pytest.mark.parametrize("workers", [2, 3, 4])
def test_bytewax_spreads_the_groups_evenly(workers: int) -> None:
    seen: list[tuple[int, int]] = []

    def note(_step: str, item: tuple[str, int], _epoch: int, worker: int) -> None:
        seen.append((item[1], worker))

    flow = Dataflow("placement")
    source = op.input("in", flow, TestingSource([(key, group) for group, key in enumerate(GROUP_KEYS)]))
    placed: Any = op.stateful_map("place", source, lambda _state, value: (None, value))
    op.output("out", op.inspect_debug("note", placed, note), TestingSink([]))
    cluster_main(flow, [], 0, worker_count_per_proc=workers)
    assert sorted(seen) == [(group, group % workers) for group in range(240)]
