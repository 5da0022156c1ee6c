"""Numbers as a colleague would say them."""

NS_PER_MS = 1e6


def ms(ns: float) -> str:
    """Nanoseconds as a time with three digits: `64.7 ms`, `1.92 s`."""
    value = ns / NS_PER_MS
    if value >= 1000.0:
        return f"{digits(value / 1000.0)} s"
    if value < 0.1 and value > 0:
        return f"{digits(value * 1000.0)} µs"
    return f"{digits(value)} ms"


def digits(value: float) -> str:
    """Three significant digits, no trailing zeros behind the point, never an exponent."""
    if value == 0:
        return "0"
    size = abs(value)
    decimals = 0 if size >= 100 else 1 if size >= 10 else 2 if size >= 1 else 3
    text = f"{value:.{decimals}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def percent(share: float) -> str:
    """A share of one as whole percent; small ones keep a digit."""
    value = share * 100.0
    return f"{value:.1f} %" if 0 < value < 2 else f"{value:.0f} %"


def megabytes(count: float) -> str:
    """Bytes in MB or GB (powers of ten)."""
    return f"{digits(count / 1e9)} GB" if abs(count) >= 1e9 else f"{digits(count / 1e6)} MB"


def operations(count: float) -> str:
    """Floating-point operations: `8.6 GFLOP`; with `/s` behind it a rate."""
    unit, size = (
        ("TFLOP", 1e12) if count >= 1e12 else ("GFLOP", 1e9) if count >= 1e9 else ("MFLOP", 1e6)
    )
    return f"{digits(count / size)} {unit}"


def plural(count: float, word: str) -> str:
    """`1 worker`, `3 workers`, `2 cores`, `1 process`, `2 processes`."""
    amount = digits(count)
    ending = "es" if word.endswith("s") else "s"
    return f"{amount} {word}" if amount == "1" else f"{amount} {word}{ending}"


def duration(seconds: float) -> str:
    """A long time in the unit one would say it in."""
    for size, unit in ((86400.0, "day"), (3600.0, "hour"), (60.0, "minute")):
        if seconds >= size:
            return plural(seconds / size if seconds < 10 * size else round(seconds / size), unit)
    return plural(seconds, "second")
