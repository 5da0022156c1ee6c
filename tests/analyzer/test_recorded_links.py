"""Bus bandwidth of recorded traces, compared with the one computed here from their JSON: bytes,
factor, durations.
"""

import gzip
import json
from pathlib import Path

import pytest

from perfscope.analyzer.communication.collective_links import collective_links
from perfscope.analyzer.diagnose import diagnose_trace
from perfscope.traces.load import load_trace
from tests.traces.kineto.recorded import FILES, WHERE

pytestmark = [pytest.mark.shared_traces, WHERE]
BYTES = {"Float": 4, "Long": 8, "BFloat16": 2}
KINDS = {"allreduce": "all_reduce", "_allgather_base": "all_gather"}
FACTOR = {
    "allreduce": lambda n: 2 * (n - 1) / n,
    "_allgather_base": lambda n: (n - 1) / n,
    "broadcast": lambda n: 1.0,
}


def recorded_file(name: str) -> Path:
    """Return the recorded trace whose file name begins with `name`."""
    (path,) = [file for file in FILES if file.name.startswith(name)]
    return path


def bus_bandwidths(path: Path) -> dict[str, tuple[int, float]]:
    """Return collective -> (count, bus bandwidth in bytes/s), summed over the kernels with
    metadata.
    """
    count: dict[str, int] = {}
    crossed: dict[str, float] = {}
    busy_us: dict[str, float] = {}
    for event in json.loads(gzip.open(path).read())["traceEvents"]:
        metadata = event.get("args", {})
        kind = metadata.get("Collective name")
        if event.get("cat") != "kernel" or kind is None:
            continue
        elements = metadata["Out msg nelems" if "gather" in kind else "In msg nelems"]
        factor = FACTOR[kind](metadata["Group size"])
        count[kind] = count.get(kind, 0) + 1
        crossed[kind] = crossed.get(kind, 0.0) + elements * BYTES[metadata["dtype"]] * factor
        busy_us[kind] = busy_us.get(kind, 0.0) + event["dur"]
    return {kind: (count[kind], crossed[kind] / busy_us[kind] * 1e6) for kind in count}


@pytest.mark.parametrize(
    ("name", "device", "gb_per_s"),
    [
        ("a100_nccl_metadata_rank0", "NVIDIA A100-PG509-200", 300),
        ("mi300x_resnet_8ranks_rank0", "AMD Instinct MI300X", 448),
        ("b200_eager_8gpu_rank0", "NVIDIA B200", 900),
    ],
)
def test_the_bus_bandwidth_of_one_rank_is_a_lower_bound_computed_from_its_file(
    name: str, device: str, gb_per_s: float
) -> None:
    path = recorded_file(name)
    rows = load_trace(path).fact(collective_links)
    known = rows[rows["bus_bytes_per_s"].notna()]
    wanted = bus_bandwidths(path)
    assert len(known) == len(wanted) > 0
    for kind, (count, bytes_per_s) in wanted.items():
        row = known[known["kind"] == KINDS.get(kind, kind)].iloc[0]
        assert row["count"] == count
        assert row["bus_bytes_per_s"] == pytest.approx(bytes_per_s, rel=1e-4)
        assert row["at_least"] and row["device"] == device
        assert row["peak_bytes_per_s"] == gb_per_s * 1e9


def test_unchecked_links_have_a_reason_with_their_peak_and_its_source() -> None:
    diagnosis = diagnose_trace(load_trace(recorded_file("mi300x_resnet")))
    reasons = {item.id: item.reason for item in diagnosis.not_checked}
    reason = reasons["nvlink-saturated"]
    assert "2.6 GB/s" in reason and "448 GB/s of Infinity Fabric" in reason
    assert "datasheet" in reason


def test_custom_all_reduces_are_communication() -> None:
    kernels = load_trace(recorded_file("b200")).table("kernels")
    assert kernels is not None
    custom = kernels[kernels["name"].str.contains("multimem_all_reduce")]
    assert len(custom) == 73 and set(custom["kind"]) == {"communication"}
