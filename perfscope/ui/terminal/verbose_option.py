"""The `--verbose` option of the commands that print a diagnosis."""

import argparse


def add_verbose_option(parser: argparse.ArgumentParser) -> None:
    """Add `--verbose`; without it the diagnosis fits one screen."""
    parser.add_argument(
        "--verbose",
        action="store_true",
        help="print all evidence, the slowest steps, and why each finding was not checked",
    )
