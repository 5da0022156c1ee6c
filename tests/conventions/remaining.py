"""Violations of the conventions that are still allowed, by check and package.

`python -m tests.conventions.remaining` lowers the numbers to what is there now and never raises
one. `--reset` writes the present numbers whatever they are: for a package that was moved.
"""

import argparse
import json

from tests.conventions.sources import ROOT
from tests.conventions.violations import CHECKS, count_by_package

TABLE = ROOT / "tests" / "conventions" / "remaining.json"
Counts = dict[str, int]


def read_remaining() -> dict[str, Counts]:
    """Return the allowed number of violations: check -> package -> count."""
    table: dict[str, Counts] = json.loads(TABLE.read_text("utf-8"))
    return table


def present_counts() -> dict[str, Counts]:
    """Return the number of violations in the tree: check -> package -> count."""
    return {name: count_by_package(list(check())) for name, check in CHECKS.items()}


def lowered(allowed: Counts, present: Counts) -> Counts:
    """Return the smaller of both numbers for each allowed package, without those at zero."""
    smaller = {name: min(count, present.get(name, 0)) for name, count in allowed.items()}
    return {name: count for name, count in smaller.items() if count}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reset", action="store_true", help="write the present numbers")
    reset = parser.parse_args().reset
    table = present_counts()
    if not reset:
        allowed = read_remaining()
        table = {name: lowered(allowed.get(name, {}), table[name]) for name in CHECKS}
    TABLE.write_text(json.dumps(table, indent=2) + "\n", "utf-8")
    for name, counts in table.items():
        print(f"{sum(counts.values()):6} {name}")


if __name__ == "__main__":
    main()
