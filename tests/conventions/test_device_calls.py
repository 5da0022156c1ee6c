"""docs/devices.md lists every call of a device's library: none of them has run on hardware."""

import re

from tests.conventions.sources import ROOT, python_files

CALL = re.compile(
    r"\b(?:pynvml|api)\.(nvml(?!EventType)[A-Z]\w+)\b"
    r"|\b(amdsmi_\w+)\b"
    r"|\b(torch\.cuda\.(?!graphs|nvtx)\w+)\b"
    r"|\b(_cuda_[a-z]\w+)\b"
    r"|\"(\w+ThreadExchange\w+)\""
)


def called() -> set[str]:
    """Return the names of all such calls in the agent and its probe."""
    texts = python_files("perfscope/agent").values()
    return {name for text in texts for found in CALL.findall(text) for name in found if name}


def test_every_device_call_is_listed() -> None:
    page = (ROOT / "docs" / "devices.md").read_text("utf-8")
    table = page.partition("## Calls that have never run on hardware")[2]
    assert len(called()) > 50
    assert sorted(name for name in called() if f"{name}`" not in table) == []
