"""Measures how long an entry stops its target, for N entries into each kind of process.

    python benchmarks/entry_stop.py [N=200] [KIND...]

It prints p50, p99 and maximum of the longest stop. It fails when a source did not run exactly once,
a target ended, a request to the server failed, or p99 of the busy main thread exceeds BUDGET_MS.
Each entry runs in a child process, as in the agent.
"""

import os
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from perfscope.agent.entry.tracer_process import EntryReport, enter_from_child

BUDGET_MS = 10.0
DEADLINE_S = 30.0
READY = 'print("ready", flush=True)'
HOG = """
import threading
def hog():
    n = 0
    while True:
        n += 1
threading.Thread(target=hog, daemon=True).start()
"""
SERVER = f"""
import asyncio
async def answer(reader, writer):
    while line := await reader.readline():
        writer.write(line)
        await writer.drain()
    writer.close()
async def serve():
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    {READY}
    await server.serve_forever()
asyncio.run(serve())
"""
TRAINING = f"""
import torch
class Items(torch.utils.data.Dataset):
    def __len__(self): return 10**9
    def __getitem__(self, index): return torch.randn(256)
loader = torch.utils.data.DataLoader(Items(), batch_size=32, num_workers=2)
model = torch.nn.Linear(256, 256)
for number, batch in enumerate(loader):
    model(batch).sum().backward()
    if number == 3:
        {READY}
"""
KINDS = {
    "busy": f"{READY}\nn = 0\nwhile True: n += 1",
    "training, 2 loader workers": TRAINING,
    "server under load": SERVER,
    "join": (
        "import threading, time; t = threading.Thread(target=time.sleep, args=(9999,)); t.start();"
        f" {READY}; t.join()"
    ),
    "sleep": f"import time; {READY}; time.sleep(9999)",
    "lock, another thread hogs the GIL": (
        f"{HOG}\nl = threading.Lock(); l.acquire(); {READY}; l.acquire()"
    ),
    "busy, another thread hogs the GIL": f"{HOG}\n{READY}\nn = 0\nwhile True: n += 1",
}


@dataclass
class Load:
    """Sends requests to the server, one after the other."""

    port: int
    answered: int = 0
    failed: int = 0
    longest_ms: float = 0.0
    ended: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """Send requests until `ended` is set."""
        import socket

        with socket.create_connection(("127.0.0.1", self.port)) as connection:
            while not self.ended.is_set():
                began = time.perf_counter()
                connection.sendall(b"ask\n")
                is_right = connection.recv(64) == b"ask\n"
                self.longest_ms = max(self.longest_ms, (time.perf_counter() - began) * 1e3)
                self.answered += is_right
                self.failed += not is_right
                time.sleep(0.001)


def enter_once(pid: int, source: str) -> EntryReport:
    """Enter once, from a child process."""
    entering = enter_from_child(pid, source, DEADLINE_S)
    while (report := entering.report()) is None:
        time.sleep(0.0005)
    return report


def measure(kind: str, entries: int, folder: Path) -> bool:
    """Enter `entries` times and print one line; return whether everything was right."""
    out = folder / "out"
    out.unlink(missing_ok=True)
    target = subprocess.Popen(
        [sys.executable, "-c", KINDS[kind]], stdout=subprocess.PIPE, text=True
    )
    assert target.stdout is not None
    load = None
    if kind.startswith("server"):
        load = Load(int(target.stdout.readline()))
        threading.Thread(target=load.run, daemon=True).start()
    target.stdout.readline()
    time.sleep(0.3)
    before = count_resources(target.pid)
    reports = []
    for number in range(entries):
        reports.append(
            enter_once(target.pid, f"with open({str(out)!r}, 'a') as out: out.write('{number}\\n')")
        )
        time.sleep(0.002)
    time.sleep(0.5)
    ran = sorted(map(int, out.read_text().split()))
    entered = [report for report in reports if report.error is None]
    errors = [report.error for report in reports if report.error is not None]
    stops_ms = sorted(report.stopped_ns / 1e6 for report in entered)
    p50, p99 = (stops_ms[int(len(stops_ms) * share)] for share in (0.5, 0.99))
    ways = {report.way: sum(other.way == report.way for other in entered) for report in entered}
    line = (
        f"{kind:34} entered {len(entered)}/{entries}  stop ms p50 {p50:.2f}  p99 {p99:.2f}  max"
        f" {stops_ms[-1]:.2f}  {ways}"
    )
    is_right = (
        ran == list(range(entries))
        and target.poll() is None
        and (kind != "busy" or p99 <= BUDGET_MS)
    )
    if load is not None:
        load.ended.set()
        line += (
            f"  {load.answered} answered, {load.failed} failed, longest {load.longest_ms:.1f} ms"
        )
        is_right = is_right and load.failed == 0
    line += f"  threads, fds {before} -> {count_resources(target.pid)}"
    if not is_right:
        line += "  FAILED"
    print(line, *errors[:1], flush=True)
    target.kill()
    target.wait()
    return is_right


def count_resources(pid: int) -> tuple[int, int]:
    """Return the number of threads and open descriptors of a process."""
    return len(os.listdir(f"/proc/{pid}/task")), len(os.listdir(f"/proc/{pid}/fd"))


def main() -> int:
    """Measure all kinds; return the exit code."""
    entries = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    kinds = sys.argv[2:] or list(KINDS)
    with tempfile.TemporaryDirectory() as folder:
        outcomes = [measure(kind, entries, Path(folder)) for kind in kinds]
    return 0 if all(outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
