"""The texts that redaction replaces, and those that it does not change."""

import pytest

from perfscope.analyzer.run.loops.trace_steps import STEP_NAME
from perfscope.traces.privacy import redacted_text
from perfscope.traces.privacy.redacted_text import (
    redact_file,
    redact_frame,
    redact_group,
    redact_operator,
    redact_range,
    redact_thread,
    redact_values,
)
from perfscope.traces.privacy.redacted_trace import SentenceRedaction, redacted_trace
from tests.build import trace

PUBLIC_RANGES = [
    "ProfilerStep#12",
    "enumerate(DataLoader)#_MultiProcessingDataLoaderIter.__next__",
    "torch/nn/modules/linear.py(116): forward",
    "AddmmBackward0",
]


def test_a_hash_is_stable_and_has_the_kind_of_the_text() -> None:
    assert redacted_text.redact_host("node17") == redacted_text.redact_host("node17")
    assert redacted_text.redact_host("node17") != redacted_text.redact_host("node18")
    assert redacted_text.redact_host("node17").startswith("host-")


@pytest.mark.parametrize("name", PUBLIC_RANGES)
def test_ranges_of_torch_stay(name: str) -> None:
    assert redact_range(name) == name


@pytest.mark.parametrize("name", ["train_step 7", "zebra/iteration 3", "my batch"])
def test_a_step_stays_recognizable(name: str) -> None:
    redacted = redact_range(name)
    assert STEP_NAME.match(redacted) and "zebra" not in redacted and "my" not in redacted


@pytest.mark.parametrize(
    "name", ["zebra", "nn.Module: Zebra_0", "/home/zebra/a.py(12): zebra", "Optimizer.step#Zebra"]
)
def test_ranges_of_the_user_are_replaced(name: str) -> None:
    assert "zebra" not in redact_range(name).lower()


def test_a_range_that_is_named_by_frames_is_redacted_like_a_stack() -> None:
    stack = "main (./zebra.py:39);free (torch/cuda/memory.py:7)"
    rows = [
        {"process": 0, "tid": 1, "ts": at, "category": "gc", "name": name}
        for at, name in enumerate((stack, "gc"))
    ]
    placed, automatic = redacted_trace(trace(ranges=rows)).table("ranges")["name"].astype(str)
    assert "zebra" not in placed and ":39);free (torch/cuda/memory.py:7)" in placed
    assert automatic == "gc"


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        ("forward (torch/nn/linear.py:12)", "forward (torch/nn/linear.py:12)"),
        (
            "save (/home/z/venv/lib/python3.11/site-packages/torch/serialization.py:9)",
            "save (torch/serialization.py:9)",
        ),
        ("wait (threading.py:3)", "wait (threading.py:3)"),
    ],
)
def test_frames_of_public_packages_stay(frame: str, expected: str) -> None:
    assert redact_frame(frame) == expected


@pytest.mark.parametrize("frame", ["zebra (zebra.py:3)", "f (/zebra/site-packages/zebra/x.py:1)"])
def test_frames_of_the_user_keep_the_line_only(frame: str) -> None:
    redacted = redact_frame(frame)
    assert "zebra" not in redacted and redacted.endswith(f":{frame[-2]})")


def test_other_texts_are_redacted_by_their_kind() -> None:
    assert redact_operator("aten::mm") == "aten::mm"
    assert "zebra" not in redact_operator("zebra::mm")
    assert redact_values('["False", "", "bij,bjk->bik"]') == '["False", "", "bij,bjk->bik"]'
    assert "zebra" not in redact_values('["zebra \\" stripes"]')
    assert redact_group("0 [0, 1]") == "0 [0, 1]"
    assert redact_group("zebra [0, 1]").endswith(" [0, 1]")
    assert redact_thread("Thread-1 (zebra)").startswith("Thread-1 (function-")
    assert redact_file("zebra.py").endswith(".py") and "zebra" not in redact_file("zebra.py")


def test_sentences_lose_hosts_arguments_and_paths() -> None:
    recorded = trace(processes=[{"name": "zebra.py", "role": "main"}])
    recorded.manifest.command = ["python", "zebra.py", "--data", "/wombat/data"]
    recorded.manifest.host = "quokka-17"
    recorded.manifest.depth_reason = "zebra.py on quokka-17 cannot read /wombat/data/a.bin"
    redacted = redacted_trace(recorded).manifest
    texts = f"{redacted.depth_reason} {redacted.command} {redacted.host}"
    assert not [name for name in ("zebra", "wombat", "quokka") if name in texts]
    assert " cannot read " in texts
    sentences = SentenceRedaction(recorded)
    assert sentences.redact("no GPU, 3 cores") == "no GPU, 3 cores"
