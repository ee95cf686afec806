"""`make bench`: every table, one after the other; `ARGS="log decisions"` runs some of them.

Each table is a process of its own, so that its memory is its own too.
"""

import subprocess
import sys
from pathlib import Path

from bench import charts

TABLES = {
    "log": ["-m", "bench.log"],
    "decisions": ["-m", "bench.decisions"],
    "checkpoint": ["-m", "bench.checkpoint"],
    "recovery": ["-m", "bench.recovery"],
    "dedup": ["-m", "bench.dedup"],
    "admissions": ["-m", "bench.admissions"],
    "delivery": ["-m", "bench.delivery"],
    "rates": ["-m", "bench.rates"],
    "slices": ["-m", "bench.slices"],
    "direct": ["-m", "bench.direct"],
    "inbox": ["-m", "bench.inbox"],
    "users": ["-m", "bench.users"],
    "track": ["-m", "bench.track"],
    "post": ["-m", "bench.post"],
    "flood": ["-m", "bench.flood"],
    "pages": ["-m", "bench.pages"],
    "replay": ["-m", "bench.replay"],
    "overload": ["-m", "bench.overload"],
    "day": ["-m", "bench.day"],
}
ROOT = Path(__file__).resolve().parent.parent


def main(wanted: list[str]) -> int:
    """Exit code 2 for a table that does not exist, 1 if one failed."""
    unknown = sorted(set(wanted) - set(TABLES))
    if unknown:
        print(f"no such table: {', '.join(unknown)}; there are {', '.join(TABLES)}", file=sys.stderr)
        return 2
    codes = [
        subprocess.run([sys.executable, *TABLES[name]], cwd=ROOT, check=False).returncode for name in wanted or TABLES
    ]
    charts.main()
    return 1 if any(codes) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
