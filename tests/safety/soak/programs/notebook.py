"""A Jupyter kernel that trains in cells; the program is what a notebook server is: it sends one
cell after the other.
"""

import sys
from pathlib import Path

from jupyter_client.manager import start_new_kernel

FIRST = """
import sys
sys.path.insert(0, {folder!r})
import torch
from observed import Observed, Training
torch.set_num_threads(1)
training, observed = Training(), Observed({out!r})
def cell(count):
    for _ in range(count):
        observed.done(training.train(observed.step))
"""


def main():
    out, steps = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 1 << 60
    manager, client = start_new_kernel(kernel_name="python3", startup_timeout=120)
    try:
        run(client, FIRST.format(folder=str(Path(__file__).parent), out=out))
        while steps > 0:
            run(client, "cell(20)")
            steps -= 20
    finally:
        manager.shutdown_kernel(now=True)


def run(client, text):
    """Run one cell; the program ends when it fails."""
    answer = client.execute_interactive(text, timeout=300, output_hook=lambda _: None)
    if answer["content"]["status"] != "ok":
        raise SystemExit("\n".join(answer["content"]["traceback"]))


if __name__ == "__main__":
    main()
