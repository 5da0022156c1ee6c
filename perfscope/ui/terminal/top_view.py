"""`perfscope top` as text: a line per device and per process, and what their statuses mean."""

from collections.abc import Callable

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from perfscope.analyzer.live_status import DEVICE_WORDS, PROCESS_WORDS, device_word, process_word
from perfscope.analyzer.number_text import digits, megabytes, ms, percent
from perfscope.traces.engine_metrics.names import ENGINE
from perfscope.traces.live_sample import DeviceSample, LiveSample, ProcessSample
from perfscope.ui.budget_phrases import NS_PER_MS
from perfscope.ui.terminal.diagnosis_view import without_controls
from perfscope.ui.terminal.layout import MUTED

PROBLEMS = (
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
HEALTHY = ("busy", "computing")
UNKNOWN = "-"
MOST_STATES = 2
LEFT_ALIGNED = ("", "status", "main thread")
DEVICE_HEADS = ("gpu", "", "status", "kernels", "SMs", "memory", "power", "clock", "temp")
PROCESS_HEADS = (
    "pid",
    "",
    "status",
    "rank",
    "gpu",
    "cores",
    "waits for core",
    "main thread",
    "workers",
    "memory",
    "reads",
)
REQUEST_HEADS = (
    "pid",
    "",
    "requests/s",
    "running",
    "waiting",
    "TTFT mean",
    "inter-token mean",
)
NO_PROCESS = "no Python process with torch is running; name others: perfscope top PID"


def top_view(sample: LiveSample, when: str) -> Group:
    """Return the tables of devices and processes, and the meaning of each status in them."""
    parts: list[Table | Text] = [Text(f"perfscope top   {when}", style="bold")]
    if sample.devices:
        parts.append(device_grid(sample.devices))
    else:
        parts.append(Text(f"no device: {sample.no_devices}", style=MUTED))
    for device in sample.devices:
        if device.lost is not None:
            parts.append(Text(f"gpu {device.device}: {device.lost}", style="yellow"))
    if sample.processes:
        parts.append(process_grid(sample.processes, sample.devices))
    else:
        parts.append(Text(NO_PROCESS, style=MUTED))
    if any(process.requests is not None for process in sample.processes):
        parts.append(request_grid(sample.processes))
    return Group(*parts, *status_meanings(sample))


def status_meanings(sample: LiveSample) -> list[Text]:
    """Return a line per status that is in the tables."""
    process_words = [process_word(process, sample.devices) for process in sample.processes]
    device_words = [device_word(device) for device in sample.devices]
    texts = [f"{word}: {PROCESS_WORDS[word]}" for word in process_words]
    texts += [f"{word}: {DEVICE_WORDS[word]}" for word in device_words]
    return [Text(text, style=MUTED) for text in dict.fromkeys(texts)]


def device_grid(devices: list[DeviceSample]) -> Table:
    """Return a line per device."""
    table = grid(DEVICE_HEADS)
    for device in devices:
        memory, power = "", " W"
        if device.memory_bytes > 0:
            memory = f" of {megabytes(device.memory_bytes)}"
        if device.power_limit_w > 0:
            power = f" of {digits(device.power_limit_w)} W"
        table.add_row(
            str(device.device),
            without_controls(Text(device.name)),
            verdict_text(device_word(device)),
            known_value(device.kernel_time_share, percent),
            known_value(device.sm_active, percent),
            known_value(device.memory_used_bytes, megabytes, memory),
            known_value(device.power_w, digits, power),
            known_value(device.sm_clock_mhz, digits, " MHz"),
            known_value(device.temperature_c, digits, " °C"),
        )
    return table


def process_grid(processes: list[ProcessSample], devices: list[DeviceSample]) -> Table:
    """Return a line per process."""
    table = grid(PROCESS_HEADS)
    for process in processes:
        table.add_row(
            str(process.pid),
            without_controls(Text(process.name)),
            verdict_text(process_word(process, devices)),
            UNKNOWN if process.rank is None else str(process.rank),
            ",".join(str(device) for device in process.devices) or UNKNOWN,
            known_value(process.cores, digits),
            known_value(process.waiting_cores, digits),
            main_thread_text(process),
            workers_text(process),
            memory_text(process),
            known_value(process.read_bytes_per_s, megabytes, "/s"),
        )
    return table


def request_grid(processes: list[ProcessSample]) -> Table:
    """Return a line per inference engine whose metrics page is read."""
    table = grid(REQUEST_HEADS)
    for process in processes:
        requests = process.requests
        if requests is None:
            continue
        counts = (requests.per_s, requests.running, requests.waiting)
        latencies = (requests.ttft_ms, requests.itl_ms)
        table.add_row(
            str(process.pid),
            without_controls(Text(ENGINE[requests.engine].label)),
            *(known_value(value, digits) for value in counts),
            *(known_value(value, ms_text) for value in latencies),
        )
    return table


def ms_text(value_ms: float) -> str:
    """Return milliseconds with their unit."""
    return ms(value_ms * NS_PER_MS)


def main_thread_text(process: ProcessSample) -> str:
    """Return the states that the main thread spends most of its time in."""
    largest_first = sorted(process.states.items(), key=lambda state: -state[1])
    texts = [f"{name} {percent(share)}" for name, share in largest_first[:MOST_STATES]]
    return ", ".join(texts) or UNKNOWN


def workers_text(process: ProcessSample) -> str:
    """Return the number of workers, and the cores that they use."""
    if not process.workers:
        return "0"
    return f"{process.workers} ({digits(process.worker_cores)} cores)"


def memory_text(process: ProcessSample) -> str:
    """Return the memory of a process on the host and on its devices."""
    host = megabytes(process.rss_bytes) if process.rss_bytes >= 0 else UNKNOWN
    if process.device_memory_bytes <= 0:
        return host
    return f"{host} + {megabytes(process.device_memory_bytes)} gpu"


def grid(heads: tuple[str, ...]) -> Table:
    """Return an empty table without lines."""
    table = Table(box=None, pad_edge=False, header_style=MUTED, padding=(0, 2, 0, 0))
    for head in heads:
        justify = "left" if head in LEFT_ALIGNED else "right"
        table.add_column(head, no_wrap=True, justify=justify)  # type: ignore[arg-type]
    return table


def verdict_text(word: str) -> Text:
    """Return the verdict in the color of its kind."""
    if word in PROBLEMS:
        return Text(word, style="bold yellow")
    return Text(word, style="bold green" if word in HEALTHY else "bold")


def known_value(value: float, format_value: Callable[[float], str], unit: str = "") -> str:
    """Return the value with its unit, `-` where it is not known (NaN)."""
    return UNKNOWN if value != value else format_value(value) + unit


def print_top_view(sample: LiveSample, when: str, console: Console) -> None:
    """Print the tables once, as plain lines."""
    console.print(top_view(sample, when))
