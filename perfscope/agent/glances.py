"""Looks at the devices of this host and at its Python processes that compute, again and again: what
`perfscope top` shows.

Nothing enters a process. A look costs a few reads of /proc for each process that is shown.
"""

import time
from collections import Counter, deque
from dataclasses import dataclass, field, replace
from math import nan
from typing import TYPE_CHECKING, Any

from perfscope.agent.collectors.thread_states import MainThread
from perfscope.agent.host import proc
from perfscope.agent.host.process_readings import ProcessReadings, Row
from perfscope.agent.host.system_calls import meanings
from perfscope.agent.job.roles import SAID, has_torch, is_python, said_place, script
from perfscope.agent.nvml.bindings import check
from perfscope.errors import CollectorUnavailable
from perfscope.traces.glance import DeviceGlance, Glances, ProcessGlance

if TYPE_CHECKING:  # they import the driver's bindings, which may be unusable
    from perfscope.agent.nvml.device_reader import Card
    from perfscope.agent.nvml.door import Door
    from perfscope.agent.nvml.gpu_processes import Holders

LOOK_S = 0.1
KEPT_STATES = 100
"""Of the last ten seconds."""
YOUNG_S = 30.0
"""A process older than this that has not loaded torch is not looked at again."""


@dataclass
class Known:
    """One process between looks."""

    pid: int
    name: str
    rank: int | None
    torch: bool
    readings: ProcessReadings
    thread: MainThread | None
    states: deque[str] = field(default_factory=lambda: deque(maxlen=KEPT_STATES))
    before: tuple[float, Row] | None = None

    def close(self) -> None:
        self.readings.close()
        if self.thread is not None:
            self.thread.close()


class Looker:
    """Keeps what looks have in common; `only` names the processes to show, else all with torch or
    on a device.
    """

    def __init__(self, only: tuple[int, ...] = ()) -> None:
        self.only = only
        self.known: dict[int, Known] = {}
        self.meaning = meanings()
        self.door: Door | None = None
        self.cards: list[Card] = []
        self.holders: Holders | None = None
        self.no_devices: str | None = None
        self.dull: set[int] = set()
        self.silent: dict[int, str] = {}
        self.away = False
        try:
            self.open_driver()
        except CollectorUnavailable as reason:
            self.no_devices = str(reason)

    def open_driver(self) -> None:
        """Begin to read the devices. Raises CollectorUnavailable."""
        check()
        from perfscope.agent.nvml.door import opened
        from perfscope.agent.nvml.gpu_processes import Holders

        self.door, self.holders = opened(), Holders()
        self.meet(self.door)

    def meet(self, door: "Door") -> None:
        """Every device anew, also of a driver that was reloaded."""
        from perfscope.agent.nvml.device_reader import cards

        self.silent.clear()
        self.cards = cards(door, self.silent)
        self.away = not self.cards
        for card in self.cards:
            card.slow(door)  # what is told between two looks needs a first one

    def look(self, seconds: float) -> Glances:
        """What happened in the next `seconds`."""
        if self.away and self.door is not None and self.door.open():
            self.meet(self.door)
        held = self.held()
        self.find(held)
        for one in self.known.values():
            one.before = (time.monotonic(), self.read(one))
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            for one in self.known.values():
                state = one.thread.state() if one.thread is not None else None
                if state is not None:
                    one.states.append(state)
            time.sleep(min(LOOK_S, left))
        shown = [
            self.glance(one, held)
            for one in list(self.known.values())
            if one.readings.quick() is not None
        ]
        rows = [one for one in with_workers(shown) if not self.only or one.pid in self.only]
        devices = [self.device(card) for card in self.cards]
        never = [
            DeviceGlance(at, "a device that never answered", lost=why)
            for at, why in self.silent.items()
        ]
        return Glances(
            sorted([*devices, *never], key=lambda one: one.device), rows, self.no_devices
        )

    def held(self) -> dict[int, list[dict[str, Any]]]:
        """pid -> its rows on the devices."""
        found: dict[int, list[dict[str, Any]]] = {}
        if self.door is None or self.holders is None:
            return found
        for card in self.cards:
            for row in self.holders.rows(self.door, card, {}, time.monotonic_ns()):
                found.setdefault(int(row["pid"]), []).append(row)
        return found

    def find(self, held: dict[int, list[dict[str, Any]]]) -> None:
        """Let go of the gone, take in newcomers."""
        for pid in [pid for pid, one in self.known.items() if one.readings.quick() is None]:
            self.known.pop(pid).close()
        below = (child for pid in self.only for child in proc.children(pid))
        everyone = (*self.only, *below) if self.only else tuple(proc.everyone())
        self.dull &= set(everyone)
        for pid in everyone:
            if pid in self.known or (pid in self.dull and pid not in held):
                continue
            one = self.newcomer(pid, pid in held)
            if one is not None:
                self.known[pid] = one
            elif self.old(pid):
                self.dull.add(pid)

    def old(self, pid: int) -> bool:
        """Would it have loaded torch by now, if ever?"""
        found = proc.stat(pid)
        return (
            found is None
            or time.clock_gettime(time.CLOCK_BOOTTIME) - found.start_ticks / proc.TICKS_PER_S
            > YOUNG_S
        )

    def newcomer(self, pid: int, on_device: bool) -> Known | None:
        """A process worth showing: asked for, on a device, or Python with torch loaded."""
        mapped = proc.mapped(pid)
        torch = has_torch(mapped)
        if (
            not (self.only or on_device or (torch and is_python(pid, mapped)))
            or proc.stat(pid) is None
        ):
            return None
        rank = said_place(proc.environment(pid, SAID), "RANK")
        thread = MainThread(pid, self.meaning) if self.meaning is not None else None
        name = script(proc.command_line(pid))
        return Known(pid, name, rank if rank >= 0 else None, torch, ProcessReadings(pid), thread)

    def read(self, one: Known) -> Row:
        return (one.readings.quick() or {}) | one.readings.all_threads()

    def glance(self, one: Known, held: dict[int, list[dict[str, Any]]]) -> ProcessGlance:
        """What it did since the look began."""
        now_s, now = time.monotonic(), self.read(one)
        then_s, then = one.before or (now_s, now)
        span_s = max(now_s - then_s, 1e-3)

        def per_s(name: str) -> float:
            return (now[name] - then[name]) / span_s if name in now and name in then else nan

        mine = held.get(one.pid, [])
        counted = Counter(one.states)
        return ProcessGlance(
            pid=one.pid,
            name=one.name,
            rank=one.rank,
            cores=per_s("cpu_ns") / 1e9,
            waiting_cores=per_s("run_delay_ns") / 1e9,
            rss_bytes=now.get("rss_bytes", -1),
            read_bytes_per_s=per_s("read_bytes"),
            states={name: count / len(one.states) for name, count in counted.items()},
            devices=tuple(sorted({int(row["device"]) for row in mine})),
            device_memory_bytes=sum(max(int(row["memory_bytes"]), 0) for row in mine)
            if mine
            else -1,
            torch=one.torch,
        )

    def device(self, card: "Card") -> DeviceGlance:
        """What a device says now."""
        assert self.door is not None
        row = card.quick(self.door)
        lost = self.door.reason if self.door.lost or self.door.away else None
        self.away |= self.door.away
        row |= card.slow(self.door)
        facts = card.facts
        return DeviceGlance(
            device=facts.device,
            name=facts.name,
            kernel_time_share=row.get(
                "kernel_time_share", row.get("graphics_active", nan)
            ),  # a MIG instance has GPM's alone
            sm_active=row.get("sm_active", nan),
            memory_used_bytes=row.get("memory_used_bytes", nan),
            memory_bytes=facts.memory_bytes,
            power_w=row.get("power_w", nan),
            power_limit_w=facts.power_limit_w,
            temperature_c=row.get("temperature_c", nan),
            sm_clock_mhz=row.get("sm_clock_mhz", nan),
            clock_events=int(row.get("clock_events", 0)),
            lost=lost,
        )

    def close(self) -> None:
        for one in self.known.values():
            one.close()
        for card in self.cards:
            if self.door is not None:
                card.close(self.door)


def with_workers(shown: list[ProcessGlance]) -> list[ProcessGlance]:
    """Loader workers counted at the process they are forked from and left out themselves, ranks
    first.
    """
    by_pid = {one.pid: one for one in shown}
    above = {one.pid: found.parent for one in shown if (found := proc.stat(one.pid)) is not None}
    workers = {
        pid: over
        for pid, over in above.items()
        if over in by_pid and by_pid[pid].name == by_pid[over].name
    }
    kept = []
    for one in shown:
        if one.pid in workers:
            continue
        own = [by_pid[pid] for pid, over in workers.items() if over == one.pid]
        kept.append(
            replace(one, workers=len(own), worker_cores=sum(each.cores for each in own))
            if own
            else one
        )
    return sorted(kept, key=lambda one: (one.rank is None, one.rank or 0, one.pid))
