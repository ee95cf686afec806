"""`make drill`: plays incidents on a real system, one after the other; exits with 1 if something does not hold.

python tests/drills/run.py [--drill NAME] [--scale 0.25] [--seed N]
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:1] = [str(HERE.parents[1]), str(HERE.parent)]

from drills.drill import play  # noqa: E402 - the path is set above
from drills.incidents import INCIDENTS  # noqa: E402 - the path is set above


def _arguments() -> argparse.Namespace:
    """Empty values, as make hands them on, are the defaults."""
    names = "\n".join(f"  {name:12} {incident.what}" for name, incident in INCIDENTS.items())
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], epilog=f"drills:\n{names}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--drill", default="", help="one or several, separated by commas (default: all)")
    parser.add_argument("--scale", default="", help="of times and numbers of people (default 1)")
    parser.add_argument("--seed", default="", help="what to play again (default: random)")
    given = parser.parse_args()
    unknown = [name for name in given.drill.split(",") if name and name not in INCIDENTS]
    if unknown:
        parser.error(f"there is no drill {', '.join(unknown)}; there are {', '.join(INCIDENTS)}")
    return given


def main() -> int:
    """Run the command line."""
    given = _arguments()
    seed = int(given.seed) if given.seed else random.SystemRandom().randrange(10**6)
    failed = []
    for name in given.drill.split(",") if given.drill else INCIDENTS:
        directory = Path(tempfile.mkdtemp(prefix=f"carillon-drill-{name}-"))
        verdict = play(directory, name, scale=float(given.scale or 1), seed=seed)
        if verdict.failed:
            failed.append(name)
            print(
                f"{name} FAILED; again: make drill DRILL={name} SEED={seed} SCALE={given.scale or 1}; kept: {directory}"
            )
        else:
            print(f"{name} passed", flush=True)
            shutil.rmtree(directory)
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
