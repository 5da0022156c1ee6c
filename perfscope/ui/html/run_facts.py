"""What a report says about its run: command, versions, devices, and what recording it cost."""

import time

from perfscope import __version__
from perfscope.analyzer.diagnosis import Diagnosis
from perfscope.analyzer.number_text import digits, megabytes
from perfscope.traces.run_folder.manifest import Manifest
from perfscope.traces.trace import Trace
from perfscope.ui.coverage import overhead_text
from perfscope.ui.html.markup import card, escape
from perfscope.ui.phrases import counted

MOST_HOSTS = 4
Facts = list[tuple[str, str]]


def facts_card(trace: Trace, diagnosis: Diagnosis) -> str:
    """Return the card of the facts that are known."""
    facts = [
        *recording_facts(trace),
        *software_facts(trace.manifest),
        *accelerator_facts(trace),
        *host_facts(trace),
    ]
    overhead = overhead_text(diagnosis)
    if overhead is not None:
        facts.append(("overhead", overhead))
    entries = "".join(f"<dt>{name}</dt><dd>{escape(text)}</dd>" for name, text in facts if text)
    return card("About this run", f'<dl class="facts">{entries}</dl>', "facts")


def recording_facts(trace: Trace) -> Facts:
    """Return what was recorded, when, and for how long."""
    manifest = trace.manifest
    when = ""
    if manifest.zero_realtime_ns > 0:
        then = time.localtime(manifest.zero_realtime_ns / 1e9)
        when = time.strftime("%Y-%m-%d %H:%M:%S", then)
    span_s = (trace.span_ns[1] - trace.span_ns[0]) / 1e9
    hosts = sorted({part.host for part in trace.manifests if part.host})
    more = f" and {len(hosts) - MOST_HOSTS} more" if len(hosts) > MOST_HOSTS else ""
    return [
        ("command", " ".join(manifest.command)),
        ("recorded", when),
        ("duration", f"{digits(span_s)} s"),
        ("host", ", ".join(hosts[:MOST_HOSTS]) + more),
        ("instrumentation", manifest.depth),
    ]


def software_facts(manifest: Manifest) -> Facts:
    """Return the versions of PyTorch and perfscope."""
    torch = manifest.torch
    recorded_by = f", recorded by {manifest.tool_version}" if manifest.tool_version else ""
    return [
        ("PyTorch", torch.version if torch is not None else ""),
        ("perfscope", f"{__version__}{recorded_by}"),
    ]


def accelerator_facts(trace: Trace) -> Facts:
    """Return the accelerators with their memory, and their drivers."""
    devices = [device for part in trace.manifests for device in part.devices]
    names = [
        f"{device.name} ({megabytes(device.memory_bytes)})"
        if device.memory_bytes > 0
        else device.name
        for device in devices
    ]
    drivers = sorted({device.driver for device in devices if device.driver})
    return [("devices", ", ".join(counted(names))), ("driver", ", ".join(drivers))]


def host_facts(trace: Trace) -> Facts:
    """Return the cores and the memory that the job may use."""
    cores = [part.usable_cores.cores for part in trace.manifests if part.usable_cores is not None]
    limits = [part.memory_limit_bytes for part in trace.manifests if part.memory_limit_bytes]
    return [
        ("usable cores", digits(sum(cores)) if cores else ""),
        ("memory limit", megabytes(float(sum(limits))) if limits else ""),
    ]
