"""The recorded traces that are not part of the repository."""

from pathlib import Path

import pytest

from tests.conventions.sources import ROOT

FOLDER = ROOT.parent / "shared" / "traces"
FILES = sorted((FOLDER / "kineto").glob("*.json.gz"))
WHERE = pytest.mark.skipif(not FILES, reason=f"needs the recorded traces in {FOLDER}")


def each_recorded() -> pytest.MarkDecorator:
    """Return a mark that parametrizes `path` over all recorded traces of the PyTorch profiler."""
    return pytest.mark.parametrize(
        "path", FILES or [Path("none")], ids=lambda path: path.name.split(".")[0]
    )
