"""Numbers as text, rounded and with units."""

import math

NS_PER_MS = 1e6


def ms(ns: float) -> str:
    """Return nanoseconds as a time with three digits: `64.7 ms`, `1.92 s`."""
    value = ns / NS_PER_MS
    if value >= 1000.0:
        return f"{digits(value / 1000.0)} s"
    if value < 0.1 and value > 0:
        return f"{digits(value * 1000.0)} µs"
    return f"{digits(value)} ms"


def digits(value: float) -> str:
    """Return three significant digits, all digits of large numbers: `0.4`, `33.9`, `1,850`."""
    if value == 0:
        return "0"
    bounds = (100, 10, 1)
    decimals = sum(abs(value) < bound for bound in bounds)
    text = f"{value:,.{decimals}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def round_up(count: float) -> int:
    """Return the count rounded up to one significant digit: 475 becomes 500."""
    size = 10 ** max(len(str(int(count))) - 1, 0)
    return int(math.ceil(count / size) * size)


def percent(share: float) -> str:
    """Return a share of one as whole percent; small ones keep a digit."""
    value = share * 100.0
    return f"{value:.1f} %" if 0 < value < 2 else f"{value:.0f} %"


def megabytes(count: float) -> str:
    """Return bytes in MB or GB (powers of ten)."""
    return f"{digits(count / 1e9)} GB" if abs(count) >= 1e9 else f"{digits(count / 1e6)} MB"


def operations(count: float) -> str:
    """Return floating-point operations: `8.6 GFLOP`; with `/s` after it a rate."""
    for size, unit in ((1e12, "TFLOP"), (1e9, "GFLOP")):
        if count >= size:
            return f"{digits(count / size)} {unit}"
    return f"{digits(count / 1e6)} MFLOP"


def plural(count: float, word: str) -> str:
    """Return a count with its noun: `1 worker`, `3 workers`, `1 process`, `2 processes`."""
    amount = digits(count)
    ending = "es" if word.endswith(("s", "ch", "sh", "x")) else "s"
    return f"{amount} {word}" if amount == "1" else f"{amount} {word}{ending}"


def duration(seconds: float) -> str:
    """Return a long time in the largest unit that it contains: `1.33 minutes`."""
    for size, unit in ((86400.0, "day"), (3600.0, "hour"), (60.0, "minute")):
        if seconds >= size:
            count = seconds / size
            return plural(count if count < 10 else round(count), unit)
    return plural(seconds, "second")


def as_clause(headline: str) -> str:
    """Return a headline as a part of a sentence: `launch-bound, the device is idle`."""
    text = headline.replace(": ", ", ", 1)
    is_word = text[1:2].islower()
    return text[:1].lower() + text[1:] if is_word else text


def capitalized(text: str) -> str:
    """Return a text that begins a sentence."""
    return text[:1].upper() + text[1:]
