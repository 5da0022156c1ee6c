"""The reasons for which a device is idle, each in a trace of a few rows."""

from perfscope.analyzer.budget.device_segments import whole_segments
from perfscope.traces.trace import Trace
from tests.analyzer.traced.gpu import US, Gpu


def pieces(trace: Trace) -> list[tuple[float, float, str]]:
    """Return (begin, end, category) in us; adjacent pieces of one category are joined."""
    found: list[tuple[float, float, str]] = []
    frame = trace.fact(whole_segments)
    for ts, dur, category in zip(frame["ts"], frame["dur"], frame["category"], strict=True):
        begin, end = ts / US, (ts + dur) / US
        if found and found[-1][2] == category and found[-1][1] == begin:
            found[-1] = (found[-1][0], end, category)
        else:
            found.append((begin, end, category))
    return found


def test_a_gap_before_a_late_launch_is_host_bound() -> None:
    trace = Gpu().started(0, 10, 20).started(50, 60, 10).trace()
    assert pieces(trace) == [
        (0, 10, "host-bound"),
        (10, 30, "device-compute"),
        (30, 60, "host-bound"),
        (60, 70, "device-compute"),
    ]


def test_a_gap_before_a_kernel_that_was_launched_early_is_other_idle() -> None:
    trace = Gpu().started(0, 10, 20).started(6, 40, 10).trace()
    assert pieces(trace)[-2:] == [(30, 40, "other-idle"), (40, 50, "device-compute")]


def test_gaps_between_kernels_of_a_graph_are_not_host_bound() -> None:
    gpu = Gpu().started(0, 10, 20, graph=True, call_kind="graph")
    gpu.add("kernels", 34, 6, device=0, stream=7, name="norm", kind="compute", launch=0, graph=True)
    assert pieces(gpu.trace())[1:] == [
        (10, 30, "device-compute"),
        (30, 34, "other-idle"),
        (34, 40, "device-compute"),
    ]


def test_the_gap_after_a_call_that_drained_the_queue_is_sync_wait() -> None:
    gpu = Gpu().started(0, 10, 30).sync(12, 33).started(60, 65, 5)
    trace = gpu.trace()
    assert pieces(trace)[2:] == [(40, 65, "sync-wait"), (65, 70, "device-compute")]
    drained = trace.fact(whole_segments).query("category == 'sync-wait'")
    assert set(drained["call"]) == {1}


def test_a_synchronization_of_an_idle_device_costs_only_its_call() -> None:
    gpu = Gpu().started(0, 10, 30).sync(50, 2).started(60, 65, 5)
    assert pieces(gpu.trace())[2:] == [
        (40, 50, "host-bound"),
        (50, 52, "sync-wait"),
        (52, 65, "host-bound"),
        (65, 70, "device-compute"),
    ]


def test_a_copy_whose_call_returns_after_it_is_sync_wait() -> None:
    gpu = Gpu().started(0, 10, 10).copied(12, 20, 5, "d2h", call_dur=15).started(40, 45, 5)
    assert pieces(gpu.trace())[2:] == [
        (20, 25, "exposed-copy"),
        (25, 45, "sync-wait"),
        (45, 50, "device-compute"),
    ]


def test_waiting_for_the_loader_comes_before_the_synchronization_that_preceded_it() -> None:
    gpu = Gpu().started(0, 10, 30).sync(12, 33)
    gpu.add("loader", 50, 100, tid=100, kind="next").started(160, 165, 5)
    assert pieces(gpu.trace())[2:] == [
        (40, 50, "sync-wait"),
        (50, 150, "input-wait"),
        (150, 165, "sync-wait"),
        (165, 170, "device-compute"),
    ]


def test_a_gap_has_the_reason_of_the_thread_that_launches_next() -> None:
    """The main thread waits for its loader, and the autograd thread launches next."""
    gpu = Gpu().started(0, 10, 10)
    gpu.add("loader", 20, 30, tid=100, kind="next").started(55, 60, 5, tid=200)
    gpu.op(15, 40, "MulBackward0", tid=200)
    assert pieces(gpu.trace())[2:] == [(20, 60, "host-bound"), (60, 65, "device-compute")]


def test_the_work_of_the_profiler_is_profiler_overhead() -> None:
    gpu = Gpu().started(0, 10, 10).span(22, 8, "overhead", "Buffer Flush").started(35, 40, 5)
    assert pieces(gpu.trace())[2:] == [
        (20, 22, "host-bound"),
        (22, 30, "profiler-overhead"),
        (30, 40, "host-bound"),
        (40, 45, "device-compute"),
    ]


def test_saving_is_a_checkpoint_where_python_functions_are_recorded() -> None:
    gpu = (
        Gpu()
        .started(0, 10, 10)
        .span(22, 60, "python", "torch/serialization.py(933): save")
        .started(85, 90, 5)
    )
    assert (22, 82, "checkpoint") in pieces(gpu.trace())


def test_computation_hides_communication_and_both_hide_copies() -> None:
    gpu = Gpu().started(0, 10, 20).started(1, 20, 30, "ncclDevKernel_AllReduce").copied(2, 15, 45)
    assert pieces(gpu.trace())[1:] == [
        (10, 30, "device-compute"),
        (30, 50, "exposed-communication"),
        (50, 60, "exposed-copy"),
    ]


def test_the_time_before_the_first_event_of_a_thread_is_other_idle() -> None:
    gpu = Gpu().started(100, 110, 10).op(0, 5, tid=999)
    assert pieces(gpu.trace())[0] == (0, 100, "other-idle")


def test_without_a_device_operators_compute_and_the_rest_is_host_bound() -> None:
    gpu = Gpu().op(0, 100, "aten::linear").op(10, 80, "aten::addmm", parent=0)
    assert pieces(gpu.trace()) == [
        (0, 11, "host-bound"),
        (11, 90, "device-compute"),
        (90, 100, "host-bound"),
    ]


def test_with_launches_but_no_kernels_all_time_is_compute_or_host() -> None:
    gpu = (
        Gpu()
        .op(0, 100, "aten::addmm")
        .add("launches", 10, 5, tid=100, name="cudaLaunchKernel", kind="kernel")
    )
    assert pieces(gpu.trace()) == [(0, 100, "compute-or-host")]
    # Recorded copies do not show what the kernels did meanwhile.
    assert pieces(gpu.copied(20, 30, 10).trace()) == [(0, 100, "compute-or-host")]


def test_every_device_has_a_budget() -> None:
    gpu = Gpu().started(0, 10, 10)
    gpu.device = 1
    frame = gpu.started(0, 30, 10).trace().fact(whole_segments)
    assert frame.groupby("rank")["dur"].sum().tolist() == [40 * US, 40 * US]
    assert frame[frame["rank"] == 1].iloc[-1]["device"] == 1


def test_the_time_until_launched_work_starts_is_other_idle() -> None:
    gpu = Gpu().started(0, 10, 20).sync(60, 2000).started(50, 2000, 10)
    assert pieces(gpu.trace())[2:5] == [
        (30, 55, "host-bound"),
        (55, 2000, "other-idle"),
        (2000, 2010, "device-compute"),
    ]
