"""`perfscope top` as text: a line a device, a line a process, each with its word; what the words
mean below.
"""

from collections.abc import Callable

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from perfscope.analyzer.live_status import DEVICE_WORDS, PROCESS_WORDS, device_word, process_word
from perfscope.analyzer.number_text import digits, megabytes, percent
from perfscope.traces.glance import DeviceGlance, Glances, ProcessGlance
from perfscope.ui.terminal.diagnosis_view import without_controls

ILL = (
    "lost",
    "throttled",
    "capped",
    "full",
    "starved",
    "gil",
    "storage",
    "input",
    "host",
    "peers",
    "waiting",
    "underused",
)
UNKNOWN = "-"


def top_view(seen: Glances, when: str) -> Group:
    """The whole picture."""
    words = [
        (word, PROCESS_WORDS[word])
        for word in (process_word(one, seen.devices) for one in seen.processes)
    ]
    words += [(word, DEVICE_WORDS[word]) for word in (device_word(one) for one in seen.devices)]
    told = [
        Text(f"{word}: {meaning}", style="bright_black") for word, meaning in dict.fromkeys(words)
    ]
    parts: list[Table | Text] = [Text(f"perfscope top   {when}", style="bold")]
    parts.append(
        devices(seen.devices)
        if seen.devices
        else Text(f"no device: {seen.no_devices}", style="bright_black")
    )
    parts += [
        Text(f"gpu {one.device}: {one.lost}", style="yellow")
        for one in seen.devices
        if one.lost is not None
    ]
    nothing = Text(
        "no Python process with torch is running; name others: perfscope top PID",
        style="bright_black",
    )
    parts.append(processes(seen.processes, seen.devices) if seen.processes else nothing)
    return Group(*parts, *told)


def devices(rows: list[DeviceGlance]) -> Table:
    """A line a device."""
    table = grid("gpu", "", "verdict", "kernels", "SMs", "memory", "power", "clock", "temp")
    for one in rows:
        word = device_word(one)
        of = f" of {megabytes(one.memory_bytes)}" if one.memory_bytes > 0 else ""
        limit = f" of {digits(one.power_limit_w)}" if one.power_limit_w > 0 else ""
        table.add_row(
            str(one.device),
            without_controls(Text(one.name)),
            verdict(word),
            known(one.kernel_time_share, percent),
            known(one.sm_active, percent),
            known(one.memory_used_bytes, megabytes, of),
            known(one.power_w, digits, f"{limit} W"),
            known(one.sm_clock_mhz, digits, " MHz"),
            known(one.temperature_c, digits, " °C"),
        )
    return table


def processes(rows: list[ProcessGlance], of: list[DeviceGlance]) -> Table:
    """A line a process."""
    table = grid(
        "pid",
        "",
        "verdict",
        "rank",
        "gpu",
        "cores",
        "no core",
        "main thread",
        "workers",
        "memory",
        "reads",
    )
    for one in rows:
        most = sorted(one.states.items(), key=lambda pair: -pair[1])[:2]
        workers = f"{one.workers} ({digits(one.worker_cores)} cores)" if one.workers else "0"
        on_device = (
            f" + {megabytes(one.device_memory_bytes)} gpu" if one.device_memory_bytes > 0 else ""
        )
        table.add_row(
            str(one.pid),
            without_controls(Text(one.name)),
            verdict(process_word(one, of)),
            UNKNOWN if one.rank is None else str(one.rank),
            ",".join(str(device) for device in one.devices) or UNKNOWN,
            known(one.cores, digits),
            known(one.waiting_cores, digits),
            ", ".join(f"{name} {percent(share)}" for name, share in most) or UNKNOWN,
            workers,
            (megabytes(one.rss_bytes) if one.rss_bytes >= 0 else UNKNOWN) + on_device,
            known(one.read_bytes_per_s, megabytes, "/s"),
        )
    return table


def grid(*heads: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bright_black", padding=(0, 2, 0, 0))
    for at, head in enumerate(heads):
        table.add_column(
            head, no_wrap=True, justify="left" if at in (1, 2) or head == "main thread" else "right"
        )
    return table


def verdict(word: str) -> Text:
    return Text(
        word,
        style="bold yellow"
        if word in ILL
        else "bold green"
        if word in ("busy", "computing")
        else "bold",
    )


def known(value: float, told: Callable[[float], str], unit: str = "") -> str:
    """The value as `told` says it, with its unit; `-` where it is not known."""
    return UNKNOWN if value != value else told(value) + unit


def printed(seen: Glances, when: str, console: Console) -> None:
    """One look as plain lines."""
    console.print(top_view(seen, when))
