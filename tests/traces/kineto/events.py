"""Events and files of small traces of the PyTorch profiler."""

import json
from pathlib import Path
from typing import Any


def event(name: str = "aten::mm", **more: Any) -> dict[str, Any]:
    """Return an event, by default an operator; `more` replaces and adds fields."""
    return {
        "ph": "X",
        "cat": "cpu_op",
        "name": name,
        "pid": 1,
        "tid": 1,
        "ts": 10,
        "dur": 5,
        **more,
    }


def kernel(**more: Any) -> dict[str, Any]:
    args = {"device": 0, "stream": 7, "correlation": 3, **more.pop("args", {})}
    return event("gemm", cat="kernel", pid=0, tid=7, args=args, **more)


def launch(**more: Any) -> dict[str, Any]:
    args = {"correlation": 3, **more.pop("args", {})}
    return event("cudaLaunchKernel", cat="cuda_runtime", args=args, **more)


def write_events(path: Path, events: list[Any], **around: Any) -> Path:
    """Write and return a trace file."""
    path.write_text(json.dumps({"schemaVersion": 1, **around, "traceEvents": events}))
    return path


# As pieces of an event array.
ODD_PIECES = [
    "",
    " ",
    "]",
    "null",
    "{}",
    '{"ph":"X"}',
    '{"ph":"X","cat":"cpu_op","name":null,"ts":"12.0005","dur":null,"pid":"Spans","tid":"x"}',
    '{"ph":"X","cat":"cpu_op","name":"a\\u0041\\n","ts":1.0005,"dur":1.00051,"pid":-1,"tid":18446744073709551615}',
    (
        '{"ph":"X","cat":"cpu_op","name":"a","ts":1682725898237042.1235,"dur":0.0005,"args":{"Input'
        ' Dims":[[1, 2],[]]}}'
    ),
    (
        '{"ph":"X","cat":"cpu_op","name":"a","ts":1682725898237042.1255,"dur":1e-3,"args":{"Input'
        ' Dims":"é"}}'
    ),
    '{"ph":"X","cat":"cpu_op","name":"a","ts":8699999999999.9999999,"dur":0.0015,"args":null}',
    '{"ph":"X","cat":"cpu_op","name":"a","ts":-5.5,"dur":-1}',
    '{"ph":"X","cat":"cpu_op","name":"a","ts":7000000000000000,"dur":1}',
    '{"ph":"X","cat":"cpu_op","name":"a","ts":1e300,"dur":1}',
    '{"ph":"X","cat":"cpu_op","name":"a","ts":NaN,"dur":1}',
    '{"ph":"X","cat":"cpu_op","name":"a","ts":1,"dur":86400000000}',
    '{"ph":"X","cat":"cpu_op","name":"a","ts":1,"dur":1,"ts":2}',
    '{"ph":"X","cat":"cpu_op","name":"a","ts":true,"dur":1}',
    '{"ph":"X","cat":["cpu_op"],"name":"a","ts":1,"dur":1}',
    '{"ph":"X","cat":"cpu_op","name":["a"],"ts":1,"dur":1}',
    '{"ph":"X","cat":"kernel","name":"k","ts":1,"dur":1,"args":{"stream":"7","device":1.9,"correlation":null}}',
    (
        '{"ph":"X","cat":"kernel","name":"k","ts":1,"dur":1,"args":{"Process Group'
        ' Ranks":[0,1],"dtype":5}}'
    ),
    '{"ph":"X","cat":"kernel","name":"k","ts":1,"dur":1,"args":[1]}',
    '{"ph":"X","cat":"kernel","name":"k","ts":1,"dur":1,"args":{"stream":1,"stream":2}}',
    (
        '{"ph":"M","name":"process_name","pid":1,"args":{"name":"python"}} ,'
        ' {"ph":"M","name":"x","args":3}'
    ),
    (
        '{"ph":"i","name":"[memory]","ts":5,"args":{"Bytes":-5,"Device Type":1,"Total'
        ' Allocated":99999999999999999999}}'
    ),
    '{"ph":"X","cat":"cpu_op","name":"a","ts":1,"dur":1}]  , "traceName": "x"}',
    '{"ph":"X","cat":"cpu_op","name":"a","ts":1,"dur":1},',
    '{"ph":"X","cat":"cpu_op","name":"a","ts":01,"dur":1}',
    '{"ph":"X","cat":"cpu_op","name":"a\tb","ts":1,"dur":1}',
    '{"ph":"X","cat":"cpu_op","name":"\\ud800","ts":1,"dur":1}',
    '{"p\\u0068":"X","cat":"cpu_op","name":"a","ts":1,"dur":1}',
    '{"ph":"X","cat":"cpu_op","name":"a","ts":1,"dur":1,"args":'
    + '{"a":' * 100
    + "1"
    + "}" * 100
    + "}",
    '{"ph":"X","cat":"cpu_op","name":"a","ts":1,"dur":1,"args":' + "[" * 5000 + "]" * 5000 + "}",
]
