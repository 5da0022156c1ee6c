"""Queued signals that arrive during an entry keep their values, and do not hold it up."""

import shutil
import subprocess
from pathlib import Path

import pytest

from perfscope.agent.entry import enter
from tests.agent.entry.target import READY, Start, feed, line_of

LIBRARY = r"""
#define _GNU_SOURCE
#include <signal.h>
#include <time.h>
static volatile long good, bad; static int what = 42;
static void handle(int n, siginfo_t *i, void *c) {
    if (i->si_code == SI_TIMER && i->si_value.sival_ptr == &what) good++; else bad++;
}
int install(void) {
    struct sigaction a = {.sa_sigaction = handle, .sa_flags = SA_SIGINFO | SA_RESTART};
    for (int k = 0; k < 4; k++) {
        timer_t t;
        struct sigevent e = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN + 1 + k};
        struct itimerspec s = {{0, 150000 + 7000 * k}, {0, 150000}};
        e.sigev_value.sival_ptr = &what;
        sigaction(SIGRTMIN + 1 + k, &a, 0);
        if (timer_create(CLOCK_MONOTONIC, &e, &t)) return 1;
        timer_settime(t, 0, &s, 0);
    }
    return 0;
}
long with_value(void) { return good; }
long without(void) { return bad; }
"""


def test_timers_keep_their_values(start: Start, tmp_path: Path) -> None:
    if not shutil.which("gcc"):
        pytest.skip("needs gcc")
    (tmp_path / "timers.c").write_text(LIBRARY)
    library = tmp_path / "timers.so"
    subprocess.run(
        ["gcc", "-shared", "-fPIC", "-o", library, tmp_path / "timers.c", "-lrt"], check=True
    )
    target = start(f"""
import ctypes, select
timers = ctypes.CDLL({str(library)!r})
assert timers.install() == 0
{READY}
while not select.select([0], [], [], 0)[0]: sum(range(1000))
print(timers.with_value() > 0, timers.without(), flush=True)
""")
    for _ in range(100):  # about one in 100 stops is requested while such a signal is taken
        enter(target.pid, "pass")
    feed(target, b"x")
    assert line_of(target) == "True 0"
