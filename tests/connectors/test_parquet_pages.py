"""Headers of pages, as writers make them and as nobody does."""

import io
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from connectors.parquet_pages import unpacked_sizes
from connectors.tables import read_rows
from state.model.errors import MalformedRecordError


@pytest.mark.parametrize("compression", ["none", "snappy", "gzip", "zstd", "brotli", "lz4"])
@pytest.mark.parametrize("version", ["1.0", "2.0"])
def test_every_page_of_parquet_tells_what_it_unpacks_to(compression: Any, version: Any) -> None:
    values = {"a": [f"{number:09}" * 20 for number in range(20_000)], "b": ["x", None] * 10_000}
    for dictionary in (True, False):
        sink = io.BytesIO()
        pq.write_table(
            pa.table(values), sink, compression=compression, data_page_version=version, use_dictionary=dictionary,
            data_page_size=9_000,
        )  # fmt: skip
        for at in (0, 1):
            chunk: Any = pq.ParquetFile(sink).metadata.row_group(0).column(at)
            start = min(chunk.data_page_offset, chunk.dictionary_page_offset or chunk.data_page_offset)
            pages = sum(unpacked_sizes(sink, start, chunk.total_compressed_size))
            assert 0 < pages <= chunk.total_uncompressed_size < pages * 1.5, "which counts headers too"
        (rows,) = read_rows(sink, "parquet", ["a"])
        assert rows.columns == [values["a"]]


@pytest.mark.parametrize(
    "header",
    [
        b"", b"\x15",
        b"\x15\x00\x00", b"\x15\x00\x15\x01\x15\x02\x00", b"\x15\x00\x15\x02\x15\x01\x00", b"\x1c" * 99,
        b"\x15\x00\x15\x02\x05\x04\x02\x15\x02\x00", b"\x15\x00\x16\x02\x15\x02\x00", b"\x15" + b"\xff" * 99,
        b"\x19\x00",
        b"\x15\x00\x15\x02\x15\x02\x4c\x15\xfe\x01\x00\x00",
    ],
)  # fmt: skip
def test_a_header_of_a_page_that_is_none_is_refused(header: bytes) -> None:
    with pytest.raises(MalformedRecordError):
        list(unpacked_sizes(io.BytesIO(header), 0, max(len(header), 1)))
