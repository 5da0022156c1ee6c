"""Windows of torch's profiler in inference servers: operators of every thread that serves, and
every request answered.
"""

import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType

from perfscope.traces.load import load_trace
from tests.running import attach, end, start

CLIENTS = 3
MARGIN_NS = 50_000_000
"""An answer this soon after the window's beginning may have been worked out before it."""


class Load:
    """Clients that send requests one after the other, each over its own connection."""

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


def looked_into(kind: str, pause_s: float, folder: Path) -> None:
    """One server, attached to while its clients ask."""
    folder.mkdir()
    run = start("serving.py", folder, kind, steps=1)
    try:
        with Load(int(run.lines()[0][0]), pause_s) as clients:
            answer = attach(run.pid, folder / "run", "--window", "seconds=1", seconds=4)
    finally:
        end(run)
    told = {source["name"]: source for source in answer["sources"]}["kernels"]
    assert told["status"] == "ok" and not clients.broken, told
    assert len({value for _, value, _ in clients.answers}) == 1
    trace = load_trace(folder / "run")
    ops, windows = trace.table("ops"), trace.table("windows")
    assert ops is not None and windows is not None
    kept = windows[windows["kept"]]
    begin, end_ = (
        int(kept[name].iloc[0]) + trace.manifest.zero_monotonic_ns for name in ("begin", "end")
    )
    served = {thread for at, _, thread in clients.answers if begin + MARGIN_NS < at < end_}
    seen = set(ops[ops["name"] == "aten::addmm"]["tid"])
    assert served and served <= seen <= {thread for _, _, thread in clients.answers}


def test_operators_of_every_thread_that_serves_idle_and_under_load(tmp_path: Path) -> None:
    cases = [(kind, pause_s) for kind in ("threads", "asyncio") for pause_s in (0.01, 0.2)]
    with ThreadPoolExecutor(len(cases)) as pool:
        for done in [
            pool.submit(looked_into, *case, tmp_path / str(number))
            for number, case in enumerate(cases)
        ]:
            done.result()
