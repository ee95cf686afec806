"""What tells a repeat from news: the exact stores as they are, and what a Bloom filter in front of them would change.

The filter lives here alone. It may only say "certainly new", so it saves a look-up and never decides: what it costs and
saves per key, its size and its real rate of false alarms are what DECISIONS, Exact marks, argues with.
"""

import math
import secrets
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from rocksdict import BlockBasedOptions, Options, Rdict

from bench.figures import record
from state.deliver.store import LaneCommit, SendingStore
from state.disk.rocksdb import database_options

TABLE = "dedup"
KNOWN, FRESH = 1_000_000, 1_000_000
_BATCH = 500
_SAMPLE = 100_000
_NOW = 1_767_225_600_000
Words = npt.NDArray[np.uint64]


class Bloom:
    """A filter over 16-byte digests, sized for `keys` at a rate of false alarms."""

    def __init__(self, keys: int, rate: float) -> None:
        self.bits = math.ceil(-keys * math.log(rate) / math.log(2) ** 2)
        self.hashes = max(1, round(self.bits / keys * math.log(2)))
        self._cells = np.zeros(self.bits, np.bool_)

    @property
    def size_bytes(self) -> int:
        """As bits; the cells here are bytes, which only makes the look-ups faster."""
        return -(-self.bits // 8)

    def _indices(self, digests: bytes) -> Words:
        words = np.frombuffer(digests, "<u8").reshape(-1, 2)
        steps = np.arange(self.hashes, dtype=np.uint64)[None, :]
        found: Words = (words[:, :1] + steps * (words[:, 1:] | np.uint64(1))) % np.uint64(self.bits)
        return found

    def add(self, digests: bytes) -> None:
        self._cells[self._indices(digests)] = True

    def may_contain(self, digests: bytes) -> npt.NDArray[np.bool_]:
        """One answer per digest; False is certain."""
        return np.asarray(self._cells[self._indices(digests)].all(axis=1))


def _split(digests: bytes) -> list[bytes]:
    return [digests[at : at + 16] for at in range(0, len(digests), 16)]


def _ns_per_key(look: Callable[..., object], keys: Sequence[bytes]) -> float:
    batches = [keys[at : at + _BATCH] for at in range(0, len(keys), _BATCH)]
    begin = time.perf_counter()
    for batch in batches:
        look(batch)
    return (time.perf_counter() - begin) / len(keys) * 1e9


def measure_filter(known: bytes, fresh: bytes) -> None:
    """Size, real rate with a million fresh keys, cost per key in batches; nothing known may be called new."""
    for rate in (1e-2, 1e-4):
        bloom = Bloom(KNOWN, rate)
        bloom.add(known)
        assert bloom.may_contain(known).all(), "a filter that forgets is none"
        alarms = float(bloom.may_contain(fresh).mean())
        name = f"{rate:.0e}".replace("-0", "m")
        record(TABLE, f"bloom_false_alarms_{name}", alarms, "share", work=f"designed for {rate}", n=FRESH)
        record(TABLE, f"bloom_bytes_per_key_{name}", bloom.size_bytes / KNOWN, "bytes", work=f"{bloom.hashes} hashes")
        ns = _ns_per_key(lambda batch, used=bloom: used.may_contain(b"".join(batch)), _split(fresh)[:_SAMPLE])
        record(TABLE, f"bloom_ns_per_key_{name}", ns, "ns", work=f"batches of {_BATCH}", n=_SAMPLE)
    gigabytes = 57e9 * -math.log(1e-4) / math.log(2) ** 2 / 8 / 1e9
    record(TABLE, "bloom_57g_keys_gb", gigabytes, "GB", work="57 G keys at 0.01 %, computed")


def measure_dictionary(known: bytes, fresh: Sequence[bytes]) -> None:
    """As `sequence` holds its marks."""
    marks = dict.fromkeys(_split(known))
    ns = _ns_per_key(lambda batch: [key in marks for key in batch], fresh)
    record(TABLE, "marks_ns_per_key", ns, "ns", work="fresh keys, marks of sequence (in memory)", n=len(fresh))


def measure_lane(directory: Path, known: bytes, fresh: Sequence[bytes]) -> None:
    """As a deliver lane asks before it sends."""
    store = SendingStore(directory / "lane.sqlite")
    store.commit(LaneCommit({}, {}, {}, {}, {}, _split(known), _NOW))
    ns = _ns_per_key(lambda batch: store.sent_among(batch, _NOW), fresh)
    record(TABLE, "sent_ns_per_key", ns, "ns", work=f"fresh keys, a lane's SQLite, batches of {_BATCH}", n=len(fresh))
    store.close()


def _with_filter(options: Options) -> Options:
    table = BlockBasedOptions()
    table.set_bloom_filter(10, block_based=False)
    options.set_block_based_table_factory(table)
    return options


def measure_rocksdb(directory: Path, known: bytes, fresh: Sequence[bytes]) -> None:
    """As admission asks, without and with RocksDB's own filter."""
    for name, options in (("plain", database_options()), ("bloom", _with_filter(database_options()))):
        database = Rdict(str(directory / name), options=options)
        for key in _split(known):
            database.put(key, b"\0" * 40)
        database.flush()
        ns = _ns_per_key(lambda batch, held=database: [held.get(key) for key in batch], fresh)
        record(TABLE, f"rocksdb_{name}_ns_per_key", ns, "ns", work="fresh keys, one by one", n=len(fresh))
        database.close()


def main() -> None:
    """All figures."""
    known, fresh = secrets.token_bytes(16 * KNOWN), secrets.token_bytes(16 * FRESH)
    sample = _split(fresh)[:_SAMPLE]
    measure_filter(known, fresh)
    measure_dictionary(known, sample)
    with tempfile.TemporaryDirectory() as directory:
        measure_lane(Path(directory), known, sample)
        measure_rocksdb(Path(directory), known, sample)


if __name__ == "__main__":
    main()
