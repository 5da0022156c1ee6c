"""Bus bandwidth in recorded traces equals what comes out of their text by hand: bytes, factor,
durations.
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
FACTOR = {
    "allreduce": lambda n: 2 * (n - 1) / n,
    "_allgather_base": lambda n: (n - 1) / n,
    "broadcast": lambda n: 1.0,
}


def by_hand(path: Path) -> dict[str, tuple[int, float]]:
    """Collective -> (how many, bus bandwidth in bytes/s): sums over the kernels that carry
    metadata.
    """
    count: dict[str, int] = {}
    crossed: dict[str, float] = {}
    busy_us: dict[str, float] = {}
    for event in json.loads(gzip.open(path).read())["traceEvents"]:
        said = event.get("args", {})
        kind = said.get("Collective name")
        if event.get("cat") != "kernel" or kind is None:
            continue
        elements = said["Out msg nelems"] if "gather" in kind else said["In msg nelems"]
        count[kind] = count.get(kind, 0) + 1
        crossed[kind] = crossed.get(kind, 0.0) + elements * BYTES[said["dtype"]] * FACTOR[kind](
            said["Group size"]
        )
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
def test_bus_bandwidth_is_that_of_the_text_and_at_least(
    name: str, device: str, gb_per_s: float
) -> None:
    (path,) = [one for one in FILES if one.name.startswith(name)]
    rows = load_trace(path).fact(collective_links)
    known = rows[rows["bus_bytes_per_s"].notna()]
    wanted = by_hand(path)
    assert len(known) == len(wanted) > 0
    for kind, (count, bytes_per_s) in wanted.items():
        own = known[
            known["kind"]
            == {"allreduce": "all_reduce", "_allgather_base": "all_gather"}.get(kind, kind)
        ].iloc[0]
        assert own["count"] == count
        assert own["bus_bytes_per_s"] == pytest.approx(bytes_per_s, rel=1e-4)
        assert (
            own["at_least"]
            and own["device"] == device
            and own["peak_bytes_per_s"] == gb_per_s * 1e9
        )


def test_the_link_verdict_names_peak_and_source() -> None:
    (path,) = [one for one in FILES if one.name.startswith("mi300x_resnet")]
    told = diagnose_trace(load_trace(path))
    said = next(one.reason for one in told.not_checked if one.id == "nvlink-saturated")
    assert (
        "at least 2.6 GB/s" in said
        and "448 GB/s of Infinity Fabric" in said
        and "datasheet" in said
    )


def test_custom_all_reduces_are_communication() -> None:
    (path,) = [one for one in FILES if one.name.startswith("b200")]
    kernels = load_trace(path).table("kernels")
    assert kernels is not None
    own = kernels[kernels["name"].str.contains("multimem_all_reduce")]
    assert len(own) == 73 and set(own["kind"]) == {"communication"}
