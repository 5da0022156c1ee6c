"""The simulated device computes what the CPU computes, and its time passes as a GPU's does."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.simulated_accelerator import run_program

MEGABYTE = 1 << 20
WAYS_TO_WAIT = (
    "item",
    "to_cpu",
    "blocking_upload",
    "accelerator",
    "stream",
    "event",
    "nonzero",
    "mask",
)


@pytest.fixture(scope="module")
def values() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run_program("values"))
    return found


@pytest.fixture(scope="module")
def times(tmp_path_factory: pytest.TempPathFactory) -> dict[str, float]:
    script = tmp_path_factory.mktemp("script") / "durations"
    script.write_text("aten::mm 10000\naten::sin 20000\n")
    settings = {"script": script, "queue": 8, "pinned_gbps": 1, "pageable_gbps": 0.25, "copy_us": 8}
    found: dict[str, float] = json.loads(run_program("timing", **settings))
    return found


def test_training_gives_the_losses_of_the_cpu(values: dict[str, Any]) -> None:
    assert {name: pytest.approx(0, abs=1e-5) for name in values["differences"]} == values[
        "differences"
    ]
    assert len(values["differences"]) == 4


def test_operators_give_the_results_of_the_cpu(values: dict[str, Any]) -> None:
    assert [name for name, same in values["operators"].items() if not same] == []


def test_kernels_take_their_scripted_time_and_launches_do_not_wait(times: dict[str, float]) -> None:
    assert times["four_products"] == pytest.approx(40)
    assert not times["done_after_launching"]


def test_two_streams_run_at_the_same_time_unless_one_waits(times: dict[str, float]) -> None:
    assert times["streams_at_once"] == pytest.approx(10)
    assert times["streams_that_wait"] == pytest.approx(20)


@pytest.mark.parametrize(
    ("copy", "gb_per_s"),
    [
        ("upload_pinned", 1.0),
        ("download_pinned", 1.0),
        ("upload_pageable", 0.25),
        ("download_pageable", 0.25),
    ],
)
def test_copies_take_the_time_of_the_link(
    times: dict[str, float], copy: str, gb_per_s: float
) -> None:
    assert times[copy] == pytest.approx(0.008 + (64 << 10) / gb_per_s / 1e6)


@pytest.mark.parametrize("way", WAYS_TO_WAIT)
def test_waiting_returns_after_the_work(times: dict[str, float], way: str) -> None:
    assert times[f"waits_{way}"]


def test_other_threads_run_while_one_waits(times: dict[str, float]) -> None:
    assert times["threads_run"]


def test_a_launch_waits_when_the_queue_is_full(times: dict[str, float]) -> None:
    assert times["queue_is_bounded"]


def test_memory_is_pooled_and_limited() -> None:
    found = json.loads(run_program("memory", memory_mb=16))
    assert found["allocated"] == 4 * MEGABYTE
    assert found["with_result"] == 8 * MEGABYTE
    assert found["after_freeing"] == 0
    assert 8 * MEGABYTE <= found["reserved"] < 9 * MEGABYTE
    assert found["retries"] == 1
    assert found["peak"] == 12 * MEGABYTE
    assert "out of memory" in found["error"]
    assert found["ooms"] == 1
    assert found["works_again"] == 0


def test_graphs_replay_and_a_query_breaks_a_capture() -> None:
    found = json.loads(run_program("capture"))
    assert found["replayed"] == [11, 20, 12, 22]
    for name in ("query", "foreign query", "item"):
        of_action, of_capture = found[name]
        assert "not permitted when a stream is capturing" in of_action
        assert "previous error during capture" in of_capture
    for name in ("foreign query, thread_local", "nothing"):
        assert found[name] == ["", ""]


def test_durations_come_from_flops_and_bytes(tmp_path: Path) -> None:
    found = json.loads(run_program("modeled", gflops=0.5, gbps=0.1))
    assert found["product"] == pytest.approx(2 * 64**3 / 0.5 / 1e6)
    assert found["addition"] == pytest.approx(3 * 4 * 64**2 / 0.1 / 1e6)
    assert found["convolution"] == pytest.approx(2 * 9 * 4 * 8 * 16 * 16 / 0.5 / 1e6)
    assert found["list"] == pytest.approx(2 * found["in_place"])
