"""AMD devices without the binding amdsmi: the recording continues and reports what is missing."""

from importlib.util import find_spec
from pathlib import Path

import pytest

from perfscope.agent.collector import Job
from perfscope.agent.collectors import Amd
from perfscope.errors import CollectorUnavailable, NothingToCollect
from perfscope.traces.run_folder.folder import RunWriter
from perfscope.traces.run_folder.manifest import Manifest
from tests.build import FACTS


def test_without_the_binding_the_missing_package_is_named(tmp_path: Path) -> None:
    if find_spec("amdsmi") is not None:
        pytest.skip("amdsmi is installed")
    manifest = Manifest(**{**FACTS, "usable_cores": None, "torch": None})
    run = RunWriter.create(tmp_path / "run", manifest)
    expected = CollectorUnavailable if Path("/dev/kfd").exists() else NothingToCollect
    with pytest.raises(expected, match="amdsmi"):
        Amd().start(Job(run, 1))
    run.close()
