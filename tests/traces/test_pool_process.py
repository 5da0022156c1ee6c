"""The processes of a pool end with the process that started them."""

import os
import sys
from pathlib import Path

import pytest

from tests.target_processes import killed_at_end, until

POOL = """
import sys, time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from perfscope.traces.pool_process import start_pool_process

if __name__ == "__main__":
    pool = ProcessPoolExecutor(2, get_context(sys.argv[1]), start_pool_process)
    waits = [pool.submit(time.sleep, 0.5) for _ in range(2)]
    [wait.result() for wait in waits]
    print(*pool._processes, flush=True)
    time.sleep(1000)
"""


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_killing_the_parent_ends_the_processes_of_its_pool(tmp_path: Path, method: str) -> None:
    program = tmp_path / "pool.py"
    program.write_text(POOL)
    with killed_at_end([sys.executable, str(program), method]) as parent:
        assert parent.stdout is not None
        pids = parent.stdout.readline().split()
        assert len(pids) == 2 and all(os.path.exists(f"/proc/{pid}") for pid in pids)
    until(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in pids))
