"""Write golden files anew, deliberately: stored bytes and step ids change only with a release that reads the old ones.

python tests/golden/write.py NAME...      of: steps keys work outputs export decide sequence schedule
                                          `all` writes every file
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2]), str(Path(__file__).resolve().parents[1])]

from golden.files import NAMES, write  # noqa: E402 - the path is set above


def main() -> int:
    """See the module's text."""
    asked = NAMES if sys.argv[1:] == ["all"] else tuple(sys.argv[1:])
    unknown = set(asked) - set(NAMES)
    if not asked or unknown:
        print(__doc__, *sorted(unknown), sep="\n")
        return 2
    for name in asked:
        write(name)
        print(f"wrote {name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
