"""Look at runs and traces in the browser: the answer first, every number a door.

PATH is a run folder, a trace, or a folder of them (the working directory without one); the list grows by itself. Only this
machine may ask, and no request leaves it.
"""

import argparse
import time
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "path", type=Path, nargs="?", default=Path(), metavar="PATH", help="run, trace or folder of them"
    )
    parser.add_argument("--port", type=int, metavar="N", help="the port (8050, or a free one)")
    parser.add_argument(
        "--host", default="127.0.0.1", metavar="ADDRESS", help="listen beyond this machine; asks for a token"
    )


def run(args: argparse.Namespace) -> int:
    from perfscope.ui.serve import Dashboard

    board = Dashboard(args.path, args.host, args.port)
    print(f"{board.url}\nCtrl-C ends it", flush=True)
    try:
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        print()
    finally:
        board.close()
    return 0
