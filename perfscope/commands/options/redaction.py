"""The option `--redact`."""

import argparse


def add_redact(parser: argparse.ArgumentParser) -> None:
    """Add `--redact`."""
    parser.add_argument(
        "--redact",
        action="store_true",
        help=(
            "replace file names, arguments, host names, source lines and names of ranges in the"
            " output with stable hashes; the run folder stays as it is"
        ),
    )
