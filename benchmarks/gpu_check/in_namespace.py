"""The part of the check *container* that runs in a pid namespace of its own."""

import json
import sys
from pathlib import Path

from benchmarks.gpu_check.running_check import checked_target


def main() -> None:
    """Attach to a target in this namespace, and write the diagnosis to the given file."""
    with checked_target("blocking") as target:
        answer = target.attach(float(sys.argv[2]))
    Path(sys.argv[1]).write_text(json.dumps(answer))


if __name__ == "__main__":
    main()
