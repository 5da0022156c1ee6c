"""`perfscope top`: real processes, without devices and with those of the substitute driver."""

import io
import json
import subprocess
import sys
from collections.abc import Iterator
from math import nan
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from perfscope.analyzer.live_status import DEVICE_WORDS, PROCESS_WORDS, device_word, process_word
from perfscope.traces.live_sample import DeviceSample, LiveSample, ProcessSample
from perfscope.ui.terminal.top_view import print_top_view
from tests.commands.calling import call
from tests.substitute_nvml import build_driver, environment, write_scenario
from tests.target_processes import perfscope

BUSY = "while True: sum(range(1000))"
ASLEEP = "import time\nwhile True: time.sleep(0.01)"


@pytest.fixture(scope="module")
def targets() -> Iterator[list[int]]:
    running = [subprocess.Popen([sys.executable, "-c", program]) for program in (BUSY, ASLEEP)]
    yield [entry.pid for entry in running]
    for entry in running:
        entry.kill()
        entry.wait()


def output_of_top(*words: str, env: dict[str, str] | None = None) -> str:
    command = perfscope("top", "--count", "1", "--interval", "1.5", *words)
    return subprocess.run(
        command, env=env, check=True, capture_output=True, text=True, timeout=60
    ).stdout


def test_each_process_has_a_word_without_a_driver(targets: list[int]) -> None:
    output = json.loads(output_of_top("--json", *map(str, targets)))
    assert output["devices"] == [] and "no NVIDIA driver" in output["no_devices"]
    words: dict[int, dict[str, Any]] = {entry["pid"]: entry for entry in output["processes"]}
    assert words[targets[0]]["word"] in ("computing", "starved") and words[targets[0]]["cores"] > 0
    # On a busy machine even a process that mostly sleeps waits for a core.
    assert words[targets[1]]["word"] in ("idle", "starved")
    assert words[targets[1]]["states"].get("sleep", 0) > 0.5
    text = output_of_top(str(targets[1]))
    assert "no NVIDIA driver" in text and str(targets[1]) in text
    assert "idle" in text or "starved" in text


def test_devices_have_a_word_and_processes_have_their_devices(
    targets: list[int], tmp_path: Path
) -> None:
    changes = (
        f"@0 process {targets[0]} 50e9 90",
        "@1 sm_active 0.1",
        "@2 clock_events 32",
        "@3 utilization 0",
    )
    env = environment(build_driver(tmp_path), write_scenario(tmp_path, "h100", *changes, devices=4))
    output = json.loads(
        output_of_top("--json", str(targets[0]), env=env | {"SUBSTITUTE_AT_ONCE": "1"})
    )
    words = [entry["word"] for entry in output["devices"]]
    assert words == ["busy", "underused", "throttled", "idle"]
    device, process = output["devices"][0], output["processes"][0]
    assert device["name"] == "NVIDIA H100 80GB HBM3"
    assert device["power_w"] == pytest.approx(560)
    assert process["devices"] == [0] and process["device_memory_bytes"] == 50e9


def test_a_lost_device_is_listed_and_a_reloaded_driver_is_used_again(
    targets: list[int], tmp_path: Path
) -> None:
    scenario = write_scenario(tmp_path, "h100", "@1 lost 0", "speed 10", "gone 1.0 3.0", devices=2)
    env = environment(build_driver(tmp_path), scenario) | {"SUBSTITUTE_AT_ONCE": "1"}
    lines = output_of_top("--json", "--count", "3", str(targets[0]), env=env).splitlines()
    shown = [[entry["lost"] for entry in json.loads(line)["devices"]] for line in lines]
    assert shown[-1] == [None, "the device fell off the bus"]
    text = call("doctor", env=env).stdout
    assert (
        "NO  GPU counters" in text
        and "device 1 does not answer: the device fell off the bus" in text
    )
    scenario.write_text("init DRIVER_NOT_LOADED\n" + scenario.read_text())
    text = call("doctor", env=env).stdout
    assert (
        "NO  GPU counters" in text
        and "the driver is not loaded" in text
        and "make `nvidia-smi` list" in text
    )


def test_every_word_for_a_device_has_a_state() -> None:
    whole = {"device": 0, "name": "x", "memory_bytes": 100, "memory_used_bytes": 10.0}
    seen = {
        "lost": DeviceSample(**whole, lost="the device fell off the bus"),
        "throttled": DeviceSample(**whole, clock_events=0x40),
        "capped": DeviceSample(**whole, clock_events=0x4),
        "full": DeviceSample(**whole | {"memory_used_bytes": 95.0}),
        "busy": DeviceSample(**whole, kernel_time_share=1.0, sm_active=0.9),
        "underused": DeviceSample(**whole, kernel_time_share=1.0, sm_active=0.1),
        "kernels": DeviceSample(**whole, kernel_time_share=1.0),
        "idle": DeviceSample(**whole, kernel_time_share=0.02, sm_active=0.9),
        "unknown": DeviceSample(**whole),
    }
    assert {word: device_word(entry) for word, entry in seen.items()} == {
        word: word for word in DEVICE_WORDS
    }


def test_every_word_for_a_process_has_a_state() -> None:
    working, still = (
        DeviceSample(0, "x", kernel_time_share=0.9),
        DeviceSample(1, "x", kernel_time_share=0.0),
    )
    runs, waits = {"running": 0.9, "lock": 0.1}, {"poll": 0.9, "running": 0.1}
    seen = {
        "starved": ProcessSample(1, "x", waiting_cores=0.8, states=runs),
        "gil": ProcessSample(1, "x", states={"gil": 0.6, "running": 0.4}),
        "storage": ProcessSample(1, "x", states={"disk": 0.6, "running": 0.4}),
        "input": ProcessSample(1, "x", states=waits, workers=2, worker_cores=1.9, devices=(0,)),
        "peers": ProcessSample(1, "x", rank=1, cores=0.4, states=waits),
        "computing": ProcessSample(1, "x", cores=0.2, states=waits, devices=(0,)),
        "host": ProcessSample(1, "x", states=runs, devices=(1,)),
        "waiting": ProcessSample(1, "x", cores=0.3, states=waits),
        "idle": ProcessSample(1, "x", cores=0.0, states=waits),
        "unknown": ProcessSample(1, "x", cores=1.0, waiting_cores=nan),
    }
    assert {word: process_word(entry, (working, still)) for word, entry in seen.items()} == {
        word: word for word in PROCESS_WORDS
    }


def test_the_row_of_a_lost_device_has_only_its_name(tmp_path: Path) -> None:
    lost = DeviceSample(
        1,
        "NVIDIA H100",
        memory_bytes=80 << 30,
        power_limit_w=700.0,
        lost="the device fell off the bus",
    )
    shown = io.StringIO()
    print_top_view(LiveSample([lost], []), "12:00:00", Console(file=shown, width=200))
    line = next(entry for entry in shown.getvalue().splitlines() if "NVIDIA H100" in entry)
    assert line.split() == ["1", "NVIDIA", "H100", "lost", *"------"]
    assert "gpu 1: the device fell off the bus" in shown.getvalue()


@pytest.mark.parametrize("words", [("--count", "0"), ("--count", "-5"), ("-1",), ("9" * 30,)])
def test_a_count_or_a_pid_that_cannot_be_shown_is_refused(words: tuple[str, ...]) -> None:
    command = perfscope("top", *words) if "--count" in words else perfscope("top", "--", *words)
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1, done.stderr
