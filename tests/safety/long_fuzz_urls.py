"""Ask the dashboard many mutated requests: `python -m tests.safety.long_fuzz_urls [COUNT] [SEED]`;
20,000 take some minutes.
"""

import sys
import tempfile
from pathlib import Path

from tests.safety.hostile_requests import Board, faults


def main(count: int = 20_000, seed: int = 0) -> int:
    """Print how the requests were answered and what was wrong; returns the exit code."""
    with tempfile.TemporaryDirectory() as home:
        board = Board(Path(home) / "home")
        try:
            answered, wrong = faults(board, count, seed)
        finally:
            board.close()
    for name, number in sorted(answered.items()):
        print(f"{number:8} {name}")
    print("\n\n".join(wrong) or f"{sum(answered.values())} requests, nothing wrong")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:3])))
