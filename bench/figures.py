"""Figures of the benches: one JSON object per figure in bench/results/<table>.jsonl, and a line to read."""

import json
import os
import platform
import resource
import subprocess
import sys
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "bench" / "results"


def record(
    table: str,
    figure: str,
    value: float,
    unit: str,
    *,
    work: str = "",
    n: int = 0,
    seconds: float = 0.0,
    peak_rss_mb: float | None = None,
    against: str = "",
    **more: object,
) -> None:
    """Write a figure, in place of an earlier one of that name, and print it.

    `work` says what was done `n` times in `seconds`; `against` is what a ratio was measured against, in the same run.
    `peak_rss_mb` is this process's, unless another one did the work. `more` goes into the object as it is.
    """
    row = {
        "figure": figure,
        "value": value,
        "unit": unit,
        "work": work,
        "n": n,
        "seconds": round(seconds, 3),
        "peak_rss_mb": round(own_peak_rss_mb() if peak_rss_mb is None else peak_rss_mb, 1),
        "against": against,
        "commit": commit(),
        "machine": machine(),
        **more,
    }
    path = RESULTS / f"{table}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    kept = [line for line in _lines(path) if json.loads(line)["figure"] != figure]
    path.write_text("\n".join([*kept, json.dumps(row)]) + "\n", encoding="utf-8")
    print(f"{table:12} {figure:36} {value:>14,.3f} {unit:12} {work}", flush=True)


def own_peak_rss_mb() -> float:
    """The most memory this process held so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 20 if sys.platform == "darwin" else 1 << 10)


@cache
def commit() -> str:
    """The commit that was measured; a plus sign if files differ from it."""
    head = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    changed = subprocess.run(["git", "status", "--porcelain"], cwd=ROOT, capture_output=True, text=True, check=False)
    return (head.stdout.strip() or "unknown") + ("+" if changed.stdout.strip() else "")


@cache
def machine() -> str:
    """What figures depend on, without the machine's name."""
    memory_gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    return (
        f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, {memory_gb:.0f} GB, "
        f"Python {platform.python_version()}"
    )


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []
