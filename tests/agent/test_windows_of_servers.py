"""Windows of torch's profiler in inference servers: operators of every serving thread are recorded,
and every request is answered.
"""

import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType

from perfscope.traces.load import load_trace
from tests.target_processes import attach, end, source_reasons, source_statuses, start

CLIENTS = 3
MARGIN_NS = 50_000_000
"""An answer that comes this soon after the beginning of the window may be computed before it."""


class Load:
    """Clients that send requests one after the other, each over a separate connection."""

    def __init__(self, port: int, pause_s: float) -> None:
        self.over = threading.Event()
        self.answers: list[tuple[int, float, int]] = []
        self.broken: list[str] = []
        self.threads = [
            threading.Thread(target=self.ask, args=(port, pause_s)) for _ in range(CLIENTS)
        ]

    def __enter__(self) -> "Load":
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        self.over.set()
        for thread in self.threads:
            thread.join(30)

    def ask(self, port: int, pause_s: float) -> None:
        with (
            socket.create_connection(("127.0.0.1", port), 30) as connection,
            connection.makefile("rb") as answers,
        ):
            while not self.over.wait(pause_s):
                connection.sendall(b"1\n")
                words = answers.readline().split()
                if len(words) != 2:
                    self.broken.append(repr(words))
                    return
                self.answers.append((time.monotonic_ns(), float(words[0]), int(words[1])))


def check_recorded_threads(kind: str, pause_s: float, folder: Path) -> None:
    """Record a server under load, and check that operators of each serving thread are recorded."""
    folder.mkdir()
    run = start("serving.py", folder, kind, steps=1)
    try:
        with Load(int(run.lines()[0][0]), pause_s) as clients:
            answer = attach(run.pid, folder / "run", "--window", "seconds=1", seconds=4)
    finally:
        end(run)
    assert source_statuses(answer)["kernels"] == "ok", source_reasons(answer)["kernels"]
    assert not clients.broken
    assert len({value for _, value, _ in clients.answers}) == 1
    trace = load_trace(folder / "run")
    ops, windows = trace.table("ops"), trace.table("windows")
    assert ops is not None and windows is not None
    kept = windows[windows["kept"]]
    zero_ns = trace.manifest.zero_monotonic_ns
    begin_ns, end_ns = int(kept["begin"].iloc[0]) + zero_ns, int(kept["end"].iloc[0]) + zero_ns
    first_ns = begin_ns + MARGIN_NS
    served = {thread for time_ns, _, thread in clients.answers if first_ns < time_ns < end_ns}
    seen = set(ops[ops["name"] == "aten::addmm"]["tid"])
    assert served and served <= seen <= {thread for _, _, thread in clients.answers}


def test_operators_of_every_serving_thread_are_recorded(tmp_path: Path) -> None:
    """Servers with a thread per connection and with an event loop, under load and mostly idle."""
    cases = [(kind, pause_s) for kind in ("threads", "asyncio") for pause_s in (0.01, 0.2)]
    with ThreadPoolExecutor(len(cases)) as pool:
        checks = [
            pool.submit(check_recorded_threads, *case, tmp_path / str(number))
            for number, case in enumerate(cases)
        ]
        for check in checks:
            check.result()
