"""Run the fuzzers of ``tests/fuzz/`` for as long as one likes: ``python scripts/fuzz.py configs --cases 10000``.

Each case is a damaged input in a process of its own. A signal, a traceback, no answer within five seconds of CPU, a
message without a place or of too many lines, and code that ran, are failures; they are printed with their number, and
``--first NUMBER --cases 1`` runs one again.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter
from importlib import import_module
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
ROOT = Path(__file__).resolve().parents[1]
sys.path[:1] = [str(ROOT), str(ROOT / "tests")]  # not this folder, whose fuzz.py is none of the areas' package

from support.fuzzing import fuzz  # noqa: E402

AREAS = sorted(path.stem for path in (ROOT / "tests" / "fuzz").glob("*.py") if not path.stem.startswith(("test_", "_")))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("area", choices=AREAS)
    parser.add_argument("--cases", type=int, default=1000, help="how many")
    parser.add_argument("--first", type=int, default=0, help="the number of the first one")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    area = import_module(f"fuzz.{options.area}").AREA
    began, problems = time.monotonic(), Counter()
    numbers = range(options.first, options.first + options.cases)
    for failure in fuzz(area, numbers, options.seed):
        if failure is None:
            continue
        problems[failure.problem] += 1
        print(f"--- {failure.number}: {failure.case}\n{failure.problem}\n{failure.output[-2000:]}", flush=True)
    asked = f"{options.area}: {options.cases} cases, seed {options.seed}"
    print(f"{asked}, {time.monotonic() - began:.0f} s, {problems.total()} failures")
    for problem, count in problems.most_common():
        print(f"  {count} {problem}")
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main())
