"""Looks at every device on a thread of its own: the recorder is never held up by the driver.

Three rounds, each with its period and its share of a core, which it keeps to by looking less often:
what is cheap ten times a second, what is dear twice a second, who is on the devices once a second.
Rows wait here until the recorder's thread takes them.
"""

import ctypes
import threading
import time
from collections.abc import Callable
from typing import Any, Final

import pynvml

from perfscope.agent.collector import Job
from perfscope.agent.collector_guard import GuardedThread
from perfscope.agent.nvml.device_reader import Card, cards
from perfscope.agent.nvml.door import Door
from perfscope.agent.nvml.gpu_processes import Holders
from perfscope.agent.pace import Pace
from perfscope.traces.device_facts import DeviceSampling

QUICK_NS: Final = 100_000_000
SLOW_NS: Final = 500_000_000
HOLDERS_NS: Final = 1_000_000_000
AGAIN_NS: Final = 500_000_000
"""Pause between tries while the driver is away."""
QUICK_SHARE, SLOW_SHARE, HOLDERS_SHARE = 0.0045, 0.003, 0.001
"""Of a core: together just below the hundredth that watching may cost on a host of eight devices.
"""
AT_ONCE_NS: Final = 30_000_000
OTHERS: Final = 4
"""Devices that the job does not use are looked at with each fourth slow round only."""
ALL: Final = -1
LONGEST_NAP_S: Final = 0.1


class Round:
    """One kind of look: when it is due, and what it has cost."""

    def __init__(self, period_ns: int, share: float, look: Callable[[int], int]) -> None:
        self.pace, self.look, self.due_ns = Pace(period_ns, share), look, 0
        self.looks, self.devices, self.at_once = 0, 0, 0
        self.began_ns = time.monotonic_ns()

    def run(self, now_ns: int) -> None:
        started = self.pace.start()
        count = self.look(now_ns)
        self.devices += count
        self.looks += 1
        period_ns = self.pace.end(started)
        if self.looks < self.at_once:
            self.due_ns = now_ns + AT_ONCE_NS
        elif self.looks == self.at_once:  # what the first turn cost is waited for
            self.due_ns = self.began_ns + int(self.pace.busy_ns / self.pace.most_share)
        else:
            self.due_ns = now_ns + period_ns

    @property
    def hz(self) -> float:
        """Looks a second that were really made."""
        return self.looks / max((time.monotonic_ns() - self.began_ns) / 1e9, 1e-9)

    @property
    def device_us(self) -> float:
        """CPU time of one device in one look, microseconds."""
        return self.pace.busy_ns / max(self.devices, 1) / 1e3


class Watch:
    """The thread, and what it has read so far: lists that the recorder empties."""

    def __init__(self, job: Job, door: Door) -> None:
        self.job, self.door = job, door
        self.cards: list[Card] = []
        self.silent: dict[int, str] = {}
        self.holders = Holders()
        self.counters: list[dict[str, Any]] = []
        self.processes: list[dict[str, Any]] = []
        self.gaps: list[dict[str, Any]] = []
        self.open_gaps: dict[int, tuple[int, str]] = {}
        self.used: set[int] = set()
        self.events: Any = None
        self.ready = threading.Event()
        self.ended = threading.Event()
        self.rounds: list[Round] = []
        self.thread = GuardedThread(target=self.run, name="nvml", daemon=True)

    def run(self) -> None:
        """Until told to end. The driver may hang in a call: the recorder does not wait for this
        thread for ever.
        """
        self.cards = cards(self.door, self.silent)
        self.listen()
        self.ready.set()
        quick, slow = (
            Round(QUICK_NS, QUICK_SHARE, self.quick),
            Round(SLOW_NS, SLOW_SHARE, self.slow),
        )
        who = Round(HOLDERS_NS, HOLDERS_SHARE, self.who)
        who.at_once = (
            len(self.cards) if len(self.cards) > 1 else 0
        )  # which devices are the job's is wanted soon: one quick turn of all of them
        self.rounds = [quick, slow, who]
        while not self.ended.is_set():
            now_ns = time.monotonic_ns()
            if ALL in self.open_gaps and not self.back(now_ns):
                self.ended.wait(AGAIN_NS / 1e9)
                continue
            for one in self.rounds:
                if now_ns >= one.due_ns and ALL not in self.open_gaps:
                    one.run(time.monotonic_ns())
            nap_ns = min(one.due_ns for one in self.rounds) - time.monotonic_ns()
            self.ended.wait(min(max(nap_ns / 1e9, 0.0005), LONGEST_NAP_S))
        for card in self.cards:
            card.close(self.door)

    def quick(self, now_ns: int) -> int:
        """The cheap counters of the devices in use; of all while that is not known."""
        turned = self.rounds[2].looks >= len(self.cards)  # every device has been asked who is on it
        looked = [
            card for card in self.cards if not (turned and self.used) or card.number in self.used
        ]
        return self.look(looked, Card.quick)

    def slow(self, now_ns: int) -> int:
        """The dear counters; devices that the job does not use take turns."""
        at = self.rounds[1].looks
        due = [
            c
            for c in self.cards
            if not self.used or c.number in self.used or (at + c.number) % OTHERS == 0
        ]
        self.hear(now_ns)
        self.processes += self.holders.places(self.job.processes, now_ns)
        return self.look(due, Card.slow)

    def look(self, looked: list[Card], read: Callable[[Card, Door], dict[str, float]]) -> int:
        count = 0
        for card in looked:
            self.door.last = 0
            row = read(card, self.door)
            ts = card.read_ns
            if self.door.away:
                self.begin_gap(ALL, ts, self.door.reason)
                return count
            if self.door.lost:
                self.begin_gap(card.number, ts, self.door.reason)
                continue
            self.end_gap(card.number, ts)
            count += 1
            if row:
                self.counters.append({"ts": ts, "device": card.number, **row})
        return count

    def who(self, now_ns: int) -> int:
        """Who is on one device after the other: the driver takes milliseconds to list them."""
        if not self.cards:
            return 0
        card = self.cards[self.rounds[2].looks % len(self.cards)]
        rows = self.holders.rows(self.door, card, self.job.processes, now_ns)
        self.processes += rows
        if any(row["process"] >= 0 for row in rows):
            self.used |= {card.number} | {
                c.number for c in self.cards if c.facts.device == card.facts.parent
            }
        elif not self.door.lost:
            self.used.discard(card.number)
        return 1

    def listen(self) -> None:
        """Have the driver keep critical errors (Xid) for us."""
        self.events = self.door.query(pynvml.nvmlEventSetCreate)
        for card in self.cards:
            if self.events is not None and card.whole is None:
                self.door.query(
                    pynvml.nvmlDeviceRegisterEvents,
                    card.handle,
                    pynvml.nvmlEventTypeXidCriticalError,
                    self.events,
                )

    def hear(self, now_ns: int) -> None:
        """Take in the errors that it kept."""
        while self.events is not None:
            event = self.door.query(pynvml.nvmlEventSetWait_v2, self.events, 0)
            if event is None:
                return
            whose = next(
                (one for one in self.cards if address(one.handle) == address(event.device)), None
            )
            if whose is not None:
                self.counters.append(
                    {"ts": now_ns, "device": whose.number, "xid": int(event.eventData)}
                )

    def begin_gap(self, device: int, ts: int, reason: str) -> None:
        self.open_gaps.setdefault(device, (ts, reason))

    def end_gap(self, device: int, ts: int) -> None:
        gap = self.open_gaps.pop(device, None)
        if gap is not None:
            self.gaps.append({"ts": gap[0], "dur": ts - gap[0], "device": device, "reason": gap[1]})

    def back(self, now_ns: int) -> bool:
        """Is the driver there again? Then every handle is fetched anew."""
        if not self.door.open():
            return False
        found = cards(self.door)
        if not found:
            return False
        self.cards = found
        self.listen()
        self.end_gap(ALL, now_ns)
        return True

    def end(self, wait_s: float) -> bool:
        """End the thread; False when it hangs in the driver."""
        self.ended.set()
        self.thread.join(wait_s)
        now_ns = time.monotonic_ns()
        for device in list(self.open_gaps):
            self.end_gap(device, now_ns)
        return not self.thread.is_alive()

    def sampling(self) -> DeviceSampling | None:
        """Rates that were reached and what they cost; None before the first look."""
        if not self.rounds:
            return None
        quick, slow, who = self.rounds
        return DeviceSampling(
            asked_hz=1e9 / QUICK_NS,
            quick_hz=round(quick.hz, 2),
            quick_us=round(quick.device_us, 1),
            slow_hz=round(slow.hz, 2),
            slow_us=round(slow.device_us, 1),
            holders_hz=round(who.hz / max(len(self.cards), 1), 3),
            holders_us=round(who.device_us, 1),
            core_share=round(sum(one.pace.share for one in self.rounds), 5),
        )


def address(handle: Any) -> int | None:
    """Where a handle points: handles of one device are equal by this alone."""
    return ctypes.cast(handle, ctypes.c_void_p).value


class Throughput:
    """PCIe traffic of devices without counters of it, on a thread of its own: each call blocks for
    20 ms, two a device.
    """

    PERIOD_S = 1.0

    def __init__(self, watch: Watch) -> None:
        self.watch, self.door = watch, Door()
        self.thread = GuardedThread(target=self.run, name="nvml-pcie", daemon=True)

    def run(self) -> None:
        at = 0
        while not self.watch.ended.wait(self.PERIOD_S):
            cards = [card for card in self.watch.cards if card.wants_throughput]
            if not cards or self.watch.open_gaps:
                continue
            card, at = cards[at % len(cards)], at + 1
            row: dict[str, Any] = {}
            for name, which in (
                ("tx", pynvml.NVML_PCIE_UTIL_TX_BYTES),
                ("rx", pynvml.NVML_PCIE_UTIL_RX_BYTES),
            ):
                value = self.door.query(pynvml.nvmlDeviceGetPcieThroughput, card.handle, which)
                if value is not None:
                    row[f"pcie_{name}_bytes_per_s"] = float(value) * 1e3
            if row:
                self.watch.counters.append(
                    {"ts": time.monotonic_ns(), "device": card.number, **row}
                )
