"""Replays of captured graphs as steps of a loop, with a stand-in for torch's class of graphs."""

import sys
import threading
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest

from perfscope.agent.probe import graph_captures, graph_replays, module_calls, patches
from perfscope.agent.probe.guard import Guard


@pytest.fixture
def probe(monkeypatch: pytest.MonkeyPatch) -> Any:
    class CUDAGraph:
        def replay(self) -> str:
            return "replayed"

    monkeypatch.setitem(sys.modules, "torch", sys.modules.get("torch", SimpleNamespace()))
    monkeypatch.setitem(sys.modules, "torch.cuda.graphs", SimpleNamespace(CUDAGraph=CUDAGraph))
    process_state = SimpleNamespace(in_worker=lambda: False)
    modules = {
        "graph_captures": graph_captures,
        "module_calls": module_calls,
        "process_state": process_state,
    }
    monkeypatch.setattr(graph_replays, "MODULES", modules)
    began: list[int] = []
    probe: Any = SimpleNamespace(
        live=[1],
        clean_up=None,
        guard=Guard(began.append),  # type: ignore[arg-type]
        patches=patches.Patches(),
        shared={},
        records=[],
        kinds={"FORWARD": 4},
        forward_began=[lambda: began.append(1)],
        tids={threading.main_thread().ident: 1},
        compilation=SimpleNamespace(in_use=False),
        register_name=lambda key, kind, name: 9,
        began=began,
        graph=CUDAGraph,
    )
    probe.wrap = partial(patches.wrap, probe)
    graph_replays.install(probe)
    return probe


def test_a_replay_is_a_call_of_the_loop(probe: Any) -> None:
    assert probe.graph().replay() == "replayed"
    (record,) = probe.records
    assert (record[0], record[4], probe.began) == (4, 9, [1])


def test_a_replay_inside_a_module_or_of_another_thread_is_a_part_of_something_else(
    probe: Any,
) -> None:
    inside = module_calls.threads_inside(probe)
    inside.add(threading.get_ident())
    probe.graph().replay()
    inside.clear()
    thread = threading.Thread(target=probe.graph().replay)
    thread.start()
    thread.join()
    probe.compilation.in_use = True
    probe.graph().replay()
    assert probe.records == [] and probe.began == []
