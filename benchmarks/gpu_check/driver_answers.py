"""Prints what NVML answers, without interpretation: for the check *counters*."""

import ctypes
import json
import time
from typing import Any

import pynvml

FIELDS = range(1, 280)
METRICS = range(1, 100)
BETWEEN_SAMPLES_S = 0.5


def fields(handle: Any) -> dict[str, Any]:
    """Return id -> [error, type, raw value] of each field that the driver knows."""
    found = {}
    for value in pynvml.nvmlDeviceGetFieldValues(handle, list(FIELDS)):
        if value.nvmlReturn == pynvml.NVML_ERROR_NOT_SUPPORTED:
            continue
        raw = int.from_bytes(bytes(ctypes.string_at(ctypes.addressof(value.value), 8)), "little")
        found[str(value.fieldId)] = [value.nvmlReturn, value.valueType, raw]
    return found


def metrics(handle: Any) -> dict[str, Any]:
    """Return id -> [error, value] of each GPM metric, from two samples."""
    samples = [pynvml.nvmlGpmSampleAlloc() for _ in range(2)]
    pynvml.nvmlGpmSampleGet(handle, samples[0])
    time.sleep(BETWEEN_SAMPLES_S)
    pynvml.nvmlGpmSampleGet(handle, samples[1])
    wanted = pynvml.c_nvmlGpmMetricsGet_t()
    wanted.version, wanted.numMetrics = pynvml.NVML_GPM_METRICS_GET_VERSION, len(METRICS)
    wanted.sample1, wanted.sample2 = samples
    for index, metric in enumerate(METRICS):
        wanted.metrics[index].metricId = metric
    pynvml.nvmlGpmMetricsGet(wanted)
    rows = [wanted.metrics[index] for index in range(len(METRICS))]
    return {str(row.metricId): [row.nvmlReturn, row.value] for row in rows if not row.nvmlReturn}


def answer_of(question: Any, handle: Any) -> Any:
    """Return the answer to a question, or the driver's error."""
    try:
        return question(handle)
    except pynvml.NVMLError as error:
        return str(error)


def main() -> None:
    """Print the answers for every device as JSON."""
    pynvml.nvmlInit()
    answers: dict[str, Any] = {"driver": pynvml.nvmlSystemGetDriverVersion(), "devices": []}
    for index in range(pynvml.nvmlDeviceGetCount()):
        handle = pynvml.nvmlDeviceGetHandleByIndex(index)
        answers["devices"].append(
            {
                "name": pynvml.nvmlDeviceGetName(handle),
                "fields": answer_of(fields, handle),
                "metrics": answer_of(metrics, handle),
                "processes": answer_of(
                    lambda handle: len(pynvml.nvmlDeviceGetComputeRunningProcesses(handle)), handle
                ),
            }
        )
    print(json.dumps(answers))


if __name__ == "__main__":
    main()
