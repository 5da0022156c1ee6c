"""AMD: where its binding is not installed the recording goes on, and says what is missing."""

from importlib.util import find_spec
from pathlib import Path

import pytest

from perfscope.agent.collector import Job
from perfscope.agent.collectors import Amd
from perfscope.errors import CollectorUnavailable, NothingToCollect
from perfscope.traces.run.folder import RunWriter
from perfscope.traces.run.manifest import Manifest
from tests.build import FACTS


def test_without_the_binding_it_says_which_package_is_missing(tmp_path: Path) -> None:
    if find_spec("amdsmi") is not None:
        pytest.skip("amdsmi is installed here")
    manifest = Manifest(**{**FACTS, "usable_cores": None, "torch": None})
    run = RunWriter.create(tmp_path / "run", manifest)
    silent = NothingToCollect if not Path("/dev/kfd").exists() else CollectorUnavailable
    with pytest.raises(silent, match="amdsmi is not installed"):
        Amd().start(Job(run, 1))
    run.close()
