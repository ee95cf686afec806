"""Model and product on one stream: where they part, the stream is cut down and both sides are shown."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

from reference.model import simulate
from rules.writing import Line, differences

Differs = Callable[[Sequence[Line]], bool]
Run = Callable[..., list[Line]]


def ndjson(records: Sequence[Line]) -> list[bytes]:
    """The records as lines of a file."""
    return [json.dumps(record, ensure_ascii=False).encode() + b"\n" for record in records]


def disagreement(run: Run, records: Sequence[Line], *, workers: int = 1, batch: int = 1000) -> str:
    """Empty where model and product give the same lines; else a readable report of a smaller stream."""

    def compare(chosen: Sequence[Line]) -> str:
        actual = run(ndjson(chosen), inbox=True, workers=workers, batch=batch)
        return differences(simulate(chosen, inbox=True), actual)

    if not compare(records):
        return ""
    small = smaller(records, lambda chosen: bool(compare(chosen)))
    shown = "\n".join(json.dumps(record, ensure_ascii=False) for record in small)
    return f"\n{workers} workers, batch {batch}; the records:\n{shown}\nexpected by the model, given:\n{compare(small)}"


def smaller(records: Sequence[Line], differs: Differs, attempts: int = 600) -> list[Line]:
    """Leave out runs of records, halving their length, for as long as the two still differ."""
    kept = list(records)
    size = max(1, len(kept) // 2)
    while size and attempts > 0:
        start = 0
        while start < len(kept) and attempts > 0:
            attempts -= 1
            rest = kept[:start] + kept[start + size :]
            if differs(rest):
                kept = rest
            else:
                start += size
        size = size // 2
    return kept
