"""`scope.track(loader)`: each wait for a batch of a loader that is not PyTorch's is recorded as one
of PyTorch's is.
"""

import sys
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from perfscope.profiling.session import Session

UNKNOWN = -1


def is_timed_already(loader: Any) -> bool:
    """PyTorch's own loaders are timed by the probe."""
    own = getattr(sys.modules.get("torch.utils.data"), "DataLoader", None)
    return own is not None and isinstance(loader, own)


class Tracked:
    """Stands in for the loader: iterates as it does, has its length, and passes every other
    question on.
    """

    def __init__(self, loader: Any, session: "Session") -> None:
        self.loader, self.session = loader, session

    def __iter__(self) -> Iterator[Any]:
        return Waits(iter(self.loader), self.session, type(self.loader).__name__, id(self.loader))

    def __len__(self) -> int:
        return len(self.loader)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.loader, name)


class Waits(Iterator[Any]):
    """One pass over it."""

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
        """The wait, unless it was one of PyTorch's own within, which has its record."""
        took, probe = time.monotonic_ns() - first, self.session.probe
        if probe is None or not probe.live[0]:
            return
        kind, here = probe.kinds["NEXT"], threading.get_native_id()
        if any(
            one[0] == kind and one[1] == here and one[2] >= first for one in probe.records[before:]
        ):
            return
        row = (kind, here, first, took, *self.codes, UNKNOWN, UNKNOWN, ended, -1, -1, -1)
        probe.records.append(row)
