"""The division of steps on a device: what the device did, and why it was idle.

The host's clock shows waits, not work: a host that waits for data does not show whether the device
still works through its queue. So waits for data count only where the device is idle.
"""

from dataclasses import dataclass

import numpy as np

from perfscope.analyzer.budget.device_evidence import BUSY, DeviceEvidence, WindowTimes
from perfscope.analyzer.categories import (
    CHECKPOINT,
    COMPUTE_OR_HOST,
    DEVICE_COMPUTE,
    HOST_BOUND,
    INPUT_WAIT,
    OTHER_IDLE,
    SYNC_WAIT,
)
from perfscope.traces.intervals import Ints

Budget = dict[str, Ints]


@dataclass(frozen=True)
class TimedSteps:
    """The steps of one process: their length (ns), which are steady, whether they serve requests.

    `host`: garbage collections and waits for the GIL, ns. `device_waits`: calls that the probe
    timed while they waited for the device or copied, ns.
    """

    dur: Ints
    steady: "np.typing.NDArray[np.bool_]"
    serves: bool
    host: Ints
    device_waits: Ints


def with_device_times(device: DeviceEvidence, budget: Budget, timed: TimedSteps) -> Budget:
    """Return the budget with waits for data only where the device is idle.

    With a profiling window everything else is divided by what the device did in it, too.
    """
    exposed = exposed_waits(device, budget[INPUT_WAIT], timed)
    sleep = unexplained_sleep(device, budget, timed)
    if device.window is not None:
        waits = {INPUT_WAIT: exposed, OTHER_IDLE: sleep}
        return divided_by_window(device.window, budget | waits, timed)
    hidden = budget[INPUT_WAIT] - exposed
    either = budget[COMPUTE_OR_HOST] + budget[OTHER_IDLE] - sleep
    return budget | {
        INPUT_WAIT: exposed,
        DEVICE_COMPUTE: budget[DEVICE_COMPUTE] + hidden,
        OTHER_IDLE: sleep,
        COMPUTE_OR_HOST: either,
    }


def unexplained_sleep(device: DeviceEvidence, budget: Budget, timed: TimedSteps) -> Ints:
    """Return the sampled sleep of the host that is not a wait for the device, at most.

    Such a wait may be in a call that the probe does not time (`float()`, boolean masks). A window
    shows those calls, and the driver's counters how long the device is idle. Without either, no
    sleep is known to be idle time, unless a server waits for requests.
    """
    sleep = budget[OTHER_IDLE]
    if device.window is not None:
        not_timed = device.window.host_waits_in(timed.dur) - timed.device_waits
        most = np.maximum(sleep - np.maximum(not_timed, 0), 0)
    elif device.counted is not None:
        most = np.floor(timed.dur * device.counted.share).astype(np.int64)
    else:
        most = sleep if timed.serves else np.zeros_like(sleep)
    unexplained: Ints = np.minimum(sleep, most)
    return unexplained


def exposed_waits(device: DeviceEvidence, waits: Ints, timed: TimedSteps) -> Ints:
    """Return the part of the waits for data in which the device is known to be idle.

    In all steady steps together it is not longer than the device is idle by the counters.
    """
    part = 1.0 if device.idle_in_waits is None else device.idle_in_waits
    whole = part * float(waits[timed.steady].sum())
    if device.counted is not None and whole > 0.0:
        idle = device.counted.share * float(timed.dur[timed.steady].sum())
        part *= min(idle / whole, 1.0)
    exposed: Ints = np.floor(waits * part).astype(np.int64)
    return exposed


def divided_by_window(window: WindowTimes, budget: Budget, timed: TimedSteps) -> Budget:
    """Return the budget by what the device did in a window, and what the host did in idle time.

    Idle time is first that of checkpoints, then of waits for data, then what samples show as sleep,
    garbage collections and waits for the GIL; the rest is divided as it is in the window.
    """
    busy = window.busy_in(timed.dur)
    left = timed.dur - np.sum(list(busy.values()), axis=0)
    idle = {}
    for name in (CHECKPOINT, INPUT_WAIT, OTHER_IDLE):
        idle[name] = np.minimum(budget[name], left)
        left = left - idle[name]
    host = np.minimum(timed.host, left)
    left = left - host
    waits = np.floor(left * window.idle[SYNC_WAIT]).astype(np.int64)
    unknown = np.floor(left * window.idle[OTHER_IDLE]).astype(np.int64)
    none = np.zeros(len(left), np.int64)
    cleared = dict.fromkeys((*BUSY, COMPUTE_OR_HOST), none)
    return (
        budget
        | cleared
        | busy
        | idle
        | {
            SYNC_WAIT: waits,
            OTHER_IDLE: idle[OTHER_IDLE] + unknown,
            HOST_BOUND: host + left - waits - unknown,
        }
    )
