"""The jobs: which line of which process holds each of them up, and what it waits for."""

from dataclasses import dataclass
from pathlib import Path

PROGRAMS = Path(__file__).parent / "programs"
MAIN, WORKER, OTHER = "main", "loader-worker", "other"


@dataclass(frozen=True)
class KnownJob:
    """A program and its variant; where it hangs, the roles of processes, and words of the reason.

    Each of the `words` is in the text of the finding. A healthy job has no roles.
    """

    program: str
    variant: str
    roles: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    ranks: int = 1
    rank: int | None = None

    @property
    def hangs(self) -> bool:
        """Whether the job hangs."""
        return bool(self.roles)

    def lines(self) -> list[int]:
        """Return the numbers of the lines at which it hangs: those that are marked with it."""
        text = (PROGRAMS / f"{self.program}.py").read_text().splitlines()
        return [
            number
            for number, line in enumerate(text, start=1)
            if "# hangs: " in line and self.variant in line.split("# hangs: ")[1].split(", ")
        ]


FILE, LOCK, RANK, QUEUE = ("sample_0007.bin",), ("lock",), ("rank",), ("queue",)
JOBS = [
    KnownJob("files", "worker-opens", (WORKER,), FILE),
    KnownJob("files", "worker-reads", (WORKER,), FILE),
    KnownJob("files", "loop-opens", (MAIN,), FILE),
    KnownJob("files", "checkpoint", (MAIN,), FILE),
    KnownJob("files", "validation", (MAIN,), FILE),
    KnownJob("locks", "lock-order", (MAIN,), LOCK),
    KnownJob("locks", "same-lock-twice", (MAIN,), LOCK),
    KnownJob("locks", "lock-of-ended-thread", (MAIN,), LOCK),
    KnownJob("locks", "lock-file", (MAIN,), LOCK),
    KnownJob("locks", "lock-held-at-fork", (WORKER,), LOCK),
    KnownJob("collectives", "fewer-batches", (MAIN,), RANK, ranks=2, rank=1),
    KnownJob("collectives", "rank-sleeps", (MAIN,), RANK, ranks=2, rank=1),
    KnownJob("collectives", "rank-reads-a-file", (MAIN,), ("labels.txt",), ranks=2, rank=1),
    KnownJob("collectives", "rank-reads-input", (MAIN,), RANK, ranks=2, rank=1),
    KnownJob("collectives", "receive-without-send", (MAIN,), RANK, ranks=2, rank=1),
    KnownJob("workers", "worker-sleeps", (WORKER,), ("sleep",)),
    KnownJob("workers", "worker-runs-a-command", (WORKER, OTHER), ("sleep",)),
    KnownJob("workers", "worker-receives", (WORKER,), ("127.0.0.1",)),
    KnownJob("workers", "worker-reads-a-queue", (WORKER,), QUEUE),
    KnownJob("workers", "worker-is-stopped", (WORKER,), ("stopped",)),
    KnownJob("queues", "producer-thread-ended", (MAIN,), QUEUE),
    KnownJob("queues", "producer-process-ended", (MAIN,), QUEUE),
    KnownJob("queues", "full-queue", (MAIN,), QUEUE),
    KnownJob("queues", "task-of-a-pool", (OTHER, MAIN), ("sleep",)),
    KnownJob("queues", "future-without-result", (MAIN,), ("task",)),
    KnownJob("peers", "no-answer", (MAIN, OTHER), ()),
    KnownJob("peers", "no-data", (MAIN, OTHER), ()),
    KnownJob("peers", "child-sleeps", (MAIN, OTHER), ("sleep",)),
    KnownJob("peers", "environment-sleeps", (MAIN, OTHER), ("sleep",)),
    KnownJob("peers", "task-sleeps", (MAIN, OTHER), ("sleep",)),
    KnownJob("healthy", "products-of-5-s"),
    KnownJob("healthy", "products-of-40-s"),
    KnownJob("healthy", "python-of-10-s"),
    KnownJob("healthy", "python-of-30-s"),
    KnownJob("healthy", "command-of-20-s"),
    KnownJob("healthy", "thread-of-25-s"),
    KnownJob("healthy", "sleep-of-8-s"),
    KnownJob("healthy", "sleep-of-40-s"),
    KnownJob("healthy", "checkpoint-of-15-s"),
    KnownJob("healthy", "worker-of-20-s"),
]
