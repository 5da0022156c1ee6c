"""Whether CUDA allows a window: before it is initialized, while a graph is captured, with graphs in
an old CUDA.

No GPU is needed: torch's functions and its class of graphs are stand-ins, the rest is as in the
probe.
"""

import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from perfscope.agent.collectors.kernels import (
    NO_KERNELS,
    NO_KERNELS_ON_ROCM,
    reason_without_kernels,
)
from perfscope.agent.probe import cuda_state, graph_captures, patches
from perfscope.agent.probe.cuda_state import CudaState
from perfscope.agent.probe.guard import Guard
from perfscope.traces.run_folder.manifest import TorchFacts


class Graph:
    """Captures as torch.cuda.CUDAGraph does; `fails` makes the capture fail to begin."""

    def __init__(self, *, fails: bool = False) -> None:
        self.fails = fails

    def capture_begin(self) -> str:
        if self.fails:
            raise RuntimeError("capture")
        return "begun"

    def capture_end(self) -> str:
        return "ended"


def state_of(torch: Any, probe: Any = None) -> CudaState:
    """Return the state of a process with this torch."""
    return CudaState(SimpleNamespace(shared={}) if probe is None else probe, torch)


@pytest.fixture(autouse=True)
def modules(monkeypatch: pytest.MonkeyPatch) -> None:
    """The other files of the probe."""
    monkeypatch.setattr(cuda_state, "MODULES", {"graph_captures": graph_captures})


def torch(*, version: str | None = "13.0", initialized: bool = True) -> Any:
    cuda = SimpleNamespace(is_initialized=lambda: initialized)
    return SimpleNamespace(version=SimpleNamespace(cuda=version, hip=None), cuda=cuda)


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A device that the process can see."""
    (tmp_path / "nvidiactl").touch()
    monkeypatch.setattr(cuda_state, "DEVICES", (str(tmp_path / "nvidiactl"),))
    for name in cuda_state.VISIBLE:
        monkeypatch.delenv(name, raising=False)


def test_no_window_before_cuda_is_initialized(
    device: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert state_of(torch(initialized=False)).not_yet() is not None
    assert state_of(torch(initialized=True)).not_yet() is None
    assert state_of(torch(version=None, initialized=False)).not_yet() is None
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert state_of(torch(initialized=False)).not_yet() is None


def test_no_window_while_a_graph_is_captured(monkeypatch: pytest.MonkeyPatch) -> None:
    class Captured(Graph):
        capture_begin, capture_end = Graph.capture_begin, Graph.capture_end

    monkeypatch.setitem(sys.modules, "torch.cuda.graphs", SimpleNamespace(CUDAGraph=Captured))
    failed: list[dict[str, Any]] = []
    probe: Any = SimpleNamespace(
        live=[1],
        clean_up=None,
        guard=Guard(failed.append),
        patches=patches.Patches(),
        shared={},
    )
    probe.wrap = partial(patches.wrap, probe)
    state = state_of(torch(), probe)
    state.captures.watch(probe)
    state.captures.watch(probe)  # the other parts of the probe ask for it, too
    first, second = Captured(), Captured()
    assert (first.capture_begin(), second.capture_begin()) == ("begun", "begun")
    assert state.not_yet() is not None
    with pytest.raises(RuntimeError, match="capture"):
        Captured(fails=True).capture_begin()
    assert (first.capture_end(), state.captures.count) == ("ended", 1)
    assert (second.capture_end(), state.not_yet()) == ("ended", None)
    second.capture_end()  # of a capture that began before we came
    assert state.captures.count == 0 and not failed


@pytest.mark.parametrize(
    ("version", "allowed"), [("11.8", False), ("12.1", False), ("12.4", True), ("13.0", True)]
)
def test_no_window_in_an_old_cuda_with_possible_graphs(version: str, allowed: bool) -> None:
    assert (state_of(torch(version=version)).refusal() is None) == allowed
    early = state_of(torch(version=version, initialized=False))
    assert early.refusal() is None
    early.captures.seen = True
    assert (early.refusal() is None) == allowed


def test_a_window_without_kernels_has_the_reason_of_its_platform() -> None:
    cuda = TorchFacts("2.13.0", 1, 1, cuda=True)
    rocm = TorchFacts("2.13.0", 1, 1, cuda=True, hip="7.1.0")
    assert (reason_without_kernels(cuda), reason_without_kernels(rocm)) == (
        NO_KERNELS,
        NO_KERNELS_ON_ROCM,
    )
    assert reason_without_kernels(None) == NO_KERNELS
