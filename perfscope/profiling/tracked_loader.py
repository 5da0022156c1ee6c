"""`scope.track(loader)`: records each wait for a batch of a loader that is not PyTorch's."""

import sys
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from perfscope.profiling.session import Session

UNKNOWN = -1


def is_timed_already(loader: Any) -> bool:
    """Return whether it is one of PyTorch's loaders, which the probe times."""
    torch_loader = getattr(sys.modules.get("torch.utils.data"), "DataLoader", None)
    return torch_loader is not None and isinstance(loader, torch_loader)


class TrackedLoader:
    """A wrapper with the attributes of the loader, which records each wait for a batch."""

    def __init__(self, loader: Any, session: "Session") -> None:
        self.loader, self.session = loader, session

    def __iter__(self) -> Iterator[Any]:
        return TimedPass(
            iter(self.loader), self.session, type(self.loader).__name__, id(self.loader)
        )

    def __len__(self) -> int:
        return len(self.loader)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.loader, name)


class TimedPass(Iterator[Any]):
    """The waits of one pass over a loader."""

    def __init__(self, inner: Iterator[Any], session: "Session", name: str, loader: int) -> None:
        self.inner, self.session = inner, session
        self.codes = (UNKNOWN, UNKNOWN)
        probe = session.probe
        if probe is not None:
            of_loader = probe.register_name(("loader", loader), "loader", name, workers=UNKNOWN)
            number = next(probe.passes)
            of_pass = probe.register_name(
                ("pass", number), "iterator", name, loader=of_loader, workers=UNKNOWN
            )
            self.codes = (of_pass, of_loader)

    def __next__(self) -> Any:
        probe = self.session.probe
        first, before = time.monotonic_ns(), len(probe.records) if probe is not None else 0
        ended = 0
        try:
            return next(self.inner)
        except StopIteration:
            ended = 1
            raise
        finally:
            self.put(first, before, ended)

    def put(self, first: int, before: int, ended: int) -> None:
        """Record the wait, unless a PyTorch loader inside it has recorded one."""
        took, probe = time.monotonic_ns() - first, self.session.probe
        if probe is None or not probe.live[0]:
            return
        kind, thread = probe.kinds["NEXT"], threading.get_native_id()
        for record_kind, record_thread, began, *_ in probe.records[before:]:
            if record_kind == kind and record_thread == thread and began >= first:
                return
        row = (kind, thread, first, took, *self.codes, UNKNOWN, UNKNOWN, ended, -1, -1, -1)
        probe.records.append(row)
