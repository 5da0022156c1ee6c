"""Files with secrets planted in every text field: a Kineto trace, an export of Nsight Systems, run
folders.
"""

import array
import json
from pathlib import Path
from typing import Any

import pytest

from perfscope.traces.run_folder import folder as run_folder
from perfscope.traces.run_folder import streams
from perfscope.traces.run_folder.events import COLUMNS, FORWARD, NVTX, OPTIMIZER
from perfscope.traces.run_folder.folder import RunWriter
from perfscope.traces.run_folder.manifest import Manifest, SourceStatus
from tests.build import FACTS
from tests.safety.secret_samples import BY_FORM, BY_NAME
from tests.traces.nsys.exports import NEW, Rows, export, pid_of, tid_of

SHOWN = "PlainlyShown"
"""In every planted name: where names are shown it is found, so that the search for secrets looks at
the right text.
"""
PLANTED = [
    *BY_FORM.values(),
    # In a text, unlike in a command line, nothing says where a value with blanks ends.
    *(
        words[0]
        for name, words in BY_NAME.items()
        if len(words) == 1 and name != "joined with blanks"
    ),
]
ENVIRONMENT = {f"VARIABLE_{at}": text for at, text in enumerate(PLANTED)} | {
    "HF_TOKEN": BY_FORM["hugging face"]
}
STEP_NS = 1_000_000


def plant(where: str, text: str) -> str:
    """Return a text with a secret in it, which names the field that it is for."""
    return f"{SHOWN} {where} {text}"


def kineto(path: Path) -> Path:
    """A trace of one step for each secret, which is in every field that a reader knows or
    passes over.
    """
    events: list[dict[str, Any]] = []
    for at, text in enumerate(PLANTED):
        events += step(at, text)
    for what in ("process_name", "process_labels", "thread_name"):
        for pid, tid, text in ((7, 7, PLANTED[0]), (0, 7, PLANTED[5])):
            events.append(
                {
                    "ph": "M",
                    "pid": pid,
                    "tid": tid,
                    "ts": 0,
                    "name": what,
                    "args": {"name": plant(what, text)},
                }
            )
    text = PLANTED[0]
    whole = {
        "schemaVersion": 1,
        "env": ENVIRONMENT,
        "environment": json.dumps(ENVIRONMENT),
        "host_name": plant("host", text),
        "hostname": text,
        "traceName": text,
        "command": [f"--password={text}"],
        "distributedInfo": {
            "backend": plant("backend", text),
            "rank": 0,
            "world_size": 2,
            "pg_config": [{"pg_desc": text}],
        },
        "deviceProperties": [
            {"id": 0, "name": plant("device", text), "totalGlobalMem": 1 << 30, "numSms": 108}
        ],
        "traceEvents": events,
    }
    path.write_text(json.dumps(whole))
    return path


def step(at: int, text: str) -> list[dict[str, Any]]:
    """One step of 1 ms."""
    ts, host = 1000.0 * at, {"ph": "X", "pid": 7, "tid": 7}
    launch = {"correlation": at + 1, "External id": at}
    op = {
        **launch,
        "Input Dims": [text],
        "Input type": [text, plant("type", text)],
        "Concrete Inputs": [text, plant("concrete", text)],
        "Input Strides": [text],
        "Call stack": text,
        "kwargs": {"token": text},
    }
    pg = {
        "Process Group Name": plant("group", text),
        "Process Group Ranks": f"[{text}]",
        "Collective name": "allreduce",
    }
    ran = {
        **launch,
        "device": 0,
        "stream": 7,
        "grid": [1, 1, 1],
        "block": [128, 1, 1],
        "kernel_file": text,
        "dtype": text,
    }
    return [
        {**host, "cat": "user_annotation", "name": f"ProfilerStep#{at}", "ts": ts, "dur": 990.0},
        {
            **host,
            "cat": "user_annotation",
            "name": plant("range", text),
            "ts": ts + 1,
            "dur": 900.0,
        },
        {
            **host,
            "cat": "python_function",
            "name": plant("python", text),
            "ts": ts + 2,
            "dur": 800.0,
            "args": {"x": text},
        },
        {
            **host,
            "cat": "cpu_op",
            "name": plant("op", text),
            "ts": ts + 10,
            "dur": 200.0,
            "args": op,
        },
        {**host, "cat": "overhead", "name": plant("overhead", text), "ts": ts + 300, "dur": 5.0},
        {
            **host,
            "cat": "cuda_runtime",
            "name": plant("runtime", text),
            "ts": ts + 20,
            "dur": 9.0,
            "args": launch,
        },
        {
            "ph": "X",
            "cat": "kernel",
            "pid": 0,
            "tid": 7,
            "name": plant("kernel", text),
            "ts": ts + 40,
            "dur": 90.0,
            "args": ran,
        },
        {
            "ph": "X",
            "cat": "kernel",
            "pid": 0,
            "tid": 7,
            "ts": ts + 150,
            "dur": 90.0,
            "name": f"ncclDevKernel_AllReduce {text}",
            "args": ran | pg,
        },
        {
            "ph": "X",
            "cat": "gpu_memcpy",
            "pid": 0,
            "tid": 7,
            "name": f"Memcpy {text}",
            "ts": ts + 260,
            "dur": 9.0,
            "args": ran,
        },
        {
            "ph": "i",
            "cat": "user_annotation",
            "pid": 7,
            "tid": 7,
            "name": plant("instant", text),
            "ts": ts + 400,
            "s": "t",
        },
        {
            "ph": "C",
            "pid": 7,
            "tid": 7,
            "name": plant("counter", text),
            "ts": ts + 500,
            "args": {text: 1},
        },
    ]


def nsys(path: Path) -> Path:
    """An export with the secrets in its names, settings and environment."""
    rows: tuple[Rows, ...] = ([], [], [], [], [])
    kernels, calls, ranges, copies, system = rows
    on_device = {"deviceId": 0, "contextId": 1, "streamId": 7, "globalPid": pid_of(70)}
    for at, text in enumerate(PLANTED):
        begin, thread = STEP_NS * at, {"globalTid": tid_of(70, 70)}
        calls.append(
            {
                "start": begin,
                "end": begin + 90,
                "correlationId": at,
                "nameId": plant("call", text),
                **thread,
            }
        )
        names = {"shortName": text, "demangledName": plant("kernel", text), "mangledName": text}
        kernels.append(
            {"start": begin + 100, "end": begin + 900, "correlationId": at, **names, **on_device}
        )
        copies.append(
            {
                "start": begin + 900,
                "end": begin + 950,
                "correlationId": at,
                "bytes": 8,
                "copyKind": 1,
                **on_device,
            }
        )
        pushed = {"start": begin, "end": begin + 950, "eventType": 59, **thread}
        ranges.append({**pushed, "text": plant("nvtx", text)})
        ranges.append(
            {**pushed, "textId": plant("nvtx-id", text), "jsonText": json.dumps({"token": text})}
        )
        system.append({"start": begin, "end": begin + 50, "nameId": plant("os", text), **thread})
    text = PLANTED[0]
    setting = [
        {"name": f"PROCESS_0:{name}", "value": plant("setting", text)}
        for name in ("COMMAND", "ARGUMENT_0", "USER_NAME")
    ]
    setting += [
        {"name": "PROCESS_0:ENVIRONMENT_VARIABLE", "value": f'{name}="{value}"'}
        for name, value in ENVIRONMENT.items()
    ]
    device = {
        "name": "DeviceEnvironment",
        "value": ";".join(f"{name}={value}" for name, value in ENVIRONMENT.items()),
    }
    return export(
        path,
        NEW,
        CUPTI_ACTIVITY_KIND_RUNTIME=calls,
        CUPTI_ACTIVITY_KIND_KERNEL=kernels,
        CUPTI_ACTIVITY_KIND_MEMCPY=copies,
        NVTX_EVENTS=ranges,
        OSRT_API=system,
        ThreadNames=[{"nameId": plant("thread", text), "globalTid": tid_of(70, 70)}],
        PROCESSES=[{"globalPid": pid_of(70), "pid": 70, "name": plant("process", text)}],
        TARGET_INFO_SYSTEM_ENV=[device, {"name": "Hostname", "value": plant("host", text)}],
        TARGET_INFO_GPU=[
            {
                "id": 0,
                "name": plant("gpu", text),
                "busLocation": text,
                "totalMemory": 1,
                "smCount": 1,
            }
        ],
        META_DATA_CAPTURE=setting,
    )


def run(path: Path) -> Path:
    """A run folder as the agent writes it, of a program that says secrets wherever it can."""
    text = PLANTED[0]
    facts = {
        name: value
        for name, value in FACTS.items()
        if name not in ("usable_cores", "torch", "command", "host")
    }
    command = [
        "python",
        "train.py",
        *(word for words in BY_NAME.values() for word in words),
        *PLANTED,
    ]
    facts["job_id"] = path.stem
    writer = RunWriter.create(path, Manifest(**facts, command=command, host=plant("host", text)))
    manifest = writer.manifest
    manifest.sources = [SourceStatus("probe", "partial", plant("reason", text))]
    manifest.depth_reason, manifest.end_reason = plant("depth", text), plant("end", text)
    manifest.dropped = [plant("dropped", text)]
    writer.jsonl("clock", -1).append({"mono": 0, "real": 0})
    who = {
        "process": 0,
        "host": text,
        "boot_id": "b",
        "pid": 1,
        "ns_pid": 1,
        "start_ticks": 1,
        "parent": -1,
        "role": "main",
    }
    writer.jsonl("processes", -1).append(
        who | {"rank": 0, "local_rank": 0, "worker": -1, "name": plant("process", text)}
    )
    held = {
        "device": -1,
        "process": -1,
        "pid": 9,
        "name": plant("holder", text),
        "user": text,
        "ts": 5,
    }
    writer.jsonl("device.processes", -1).append(
        held | {"memory_bytes": 1, "sm_share": 0.5, "cpu_node": 0}
    )
    writer.jsonl("device.gaps", -1).append(
        {"ts": 1, "dur": 5, "device": 0, "reason": plant("gap", text)}
    )
    records: array.array[int] = array.array("q")
    for at, planted in enumerate(PLANTED):
        writer.jsonl("probe.names", 0).append({"code": at, "name": plant("range", planted)})
        writer.jsonl("nvtx.names", 0).append({"code": at, "name": plant("nvtx", planted)})
        stack = {
            "ts": at * STEP_NS,
            "tid": 1,
            "weight_ns": STEP_NS,
            "stack": f"main (a.py:1);{plant('frame', planted)} (b.py:2)",
        }
        writer.jsonl("probe.stacks", 0).append(stack)
        for kind, where in ((FORWARD, 0), (OPTIMIZER, STEP_NS // 2), (NVTX, STEP_NS // 4)):
            values = dict.fromkeys(COLUMNS, -1) | {
                "kind": kind,
                "tid": 1,
                "ts": at * STEP_NS + where,
                "dur": STEP_NS // 3,
            }
            records.extend((values | {"v0": at, "v3": 1})[name] for name in COLUMNS)
    writer.arrow("probe.records", 0, COLUMNS).append(records)
    writer.close()
    return path


def old_run(path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same of a version that did not mask what it wrote."""
    with monkeypatch.context() as patched:
        patched.setattr(streams, "masked_row", lambda row: row)
        patched.setattr(run_folder, "mask_values", lambda value: value)
        patched.setattr(run_folder, "mask_secrets", lambda command: command)
        return run(path)
