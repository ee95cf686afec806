"""`make bench`: every table, one after the other; `ARGS="log decisions"` runs some of them.

Each table is a process of its own, so that its memory is its own too.
"""

import subprocess
import sys

from bench import charts
from bench.figures import ROOT

TABLES = (
    "log", "decisions", "checkpoint", "recovery", "admissions", "delivery", "rates", "slices", "direct",
    "inbox", "users", "track", "post", "flood", "outage", "pages", "replay", "overload", "day",
)  # fmt: skip
"""Each a module of its name."""


def main(wanted: list[str]) -> int:
    """Exit code 2 for a table that does not exist, 1 if one failed."""
    unknown = sorted(set(wanted) - set(TABLES))
    if unknown:
        print(f"no such table: {', '.join(unknown)}; there are {', '.join(TABLES)}", file=sys.stderr)
        return 2
    codes = [
        subprocess.run([sys.executable, "-m", f"bench.{name}"], cwd=ROOT, check=False).returncode
        for name in wanted or TABLES
    ]
    charts.main()
    return 1 if any(codes) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
