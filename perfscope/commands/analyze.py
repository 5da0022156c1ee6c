"""Diagnose a recorded run: print what bounds it, what that costs, what to change."""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", type=Path, help="a run folder")
    parser.add_argument("--json", action="store_true", help="print the diagnosis as JSON, alone on stdout")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write the HTML report")


def run(args: argparse.Namespace) -> int:
    from perfscope.ui.answer import answer

    return answer(args.path, json=args.json, html=args.html)
