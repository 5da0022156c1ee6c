"""The environment variables that set the number of threads, and no others, are reported."""

import pytest

from perfscope.agent.probe.startup_shutdown import thread_variables


def test_only_numbers_of_threads_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("MKL_NUM_THREADS", "4,2")
    monkeypatch.setenv("SECRET_NUM_THREADS", "8")
    assert thread_variables() == {"OMP_NUM_THREADS": 1}
