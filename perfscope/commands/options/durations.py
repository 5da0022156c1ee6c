"""Durations as users write them on the command line."""

import argparse
import re

SECONDS_PER_UNIT = {"s": 1, "m": 60, "h": 3600}


def seconds(text: str) -> float:
    """Return a positive number of seconds, from `90`, `1.5`, `2m` or `30s`."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(s|m|h)?", text.strip())
    value = float(match[1]) * SECONDS_PER_UNIT[match[2] or "s"] if match else 0.0
    if value <= 0:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a positive number of seconds, such as 15 or 2m"
        )
    return value


def milliseconds(text: str) -> float:
    """Return a positive number of milliseconds, in seconds."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(ms)?", text.strip())
    if not match or float(match[1]) <= 0:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a positive number of milliseconds, such as 250"
        )
    return float(match[1]) / 1e3
