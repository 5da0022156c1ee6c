"""Sends mutated requests to a dashboard in this process and looks at every answer."""

import logging
import os
import random
import re
import time
from collections import Counter
from pathlib import Path
from typing import Any

from werkzeug.test import create_environ, run_wsgi_app

from perfscope.ui.dashboard.app import create_app
from perfscope.ui.dashboard.auth import Access
from perfscope.ui.dashboard.dashboard_data import DashboardSource, Live
from perfscope.ui.dashboard.live_run import RunWatch
from perfscope.ui.dashboard.open_runs import Library
from perfscope.ui.dashboard.verdicts import Verdicts
from tests.safety.url_mutations import Asking, mutated, seeds
from tests.ui.dashboard_client import AT_ADDRESS, ORIGIN, PORT
from tests.ui.kineto_files import events, small_trace
from tests.ui.recorded import recorded_run

INSIDE, OUTSIDE = "name-that-only-a-run-holds", "name-that-is-outside-of-the-folder"
LONGEST_S = 10.0


class Board:
    """A dashboard over a folder with runs, and with links to files outside of it."""

    def __init__(self, home: Path) -> None:
        root, outside = home / "runs", home / "OUTSIDE"
        outside.mkdir(parents=True)
        small_trace(outside / "secret.json", renamed(OUTSIDE))
        recorded_run(outside / "run.perfscope")
        root.mkdir()
        small_trace(root / "gpu.json", renamed(INSIDE))
        recorded_run(root / "train.perfscope")
        recorded_run(root / "linked.perfscope")
        os.rename(root / "linked.perfscope" / "streams", outside / "streams")
        (root / "linked.perfscope" / "streams").symlink_to(outside / "streams")
        (root / "link").symlink_to(outside)
        (root / "link.json").symlink_to(outside / "secret.json")
        self.library, self.verdicts = Library(root), Verdicts()
        self.access = Access(PORT)
        watch = RunWatch(root / "train.perfscope")
        watch.tick(True)
        self.app = create_app(
            DashboardSource(self.library, self.verdicts, self.access, Live(watch))
        )
        self.logged: list[str] = []
        runs = [run.id for run in self.library.runs() if not run.leads_out]
        front = (
            self.app.server.test_client()
            .get(f"/?token={self.access.token}", follow_redirects=True, **AT_ADDRESS)
            .text
        )
        scripts = re.findall(r'src="(/_dash-component-suites/[^"]+)"', front)
        assert scripts
        self.seeds = seeds([*runs, "linked.perfscope"], self.app.callback_map, scripts)

    def close(self) -> None:
        self.verdicts.close()


class Heard(logging.Handler):
    """Keeps what is logged: a traceback would be."""

    def __init__(self, into: list[str]) -> None:
        super().__init__(logging.WARNING)
        self.into = into

    def emit(self, record: logging.LogRecord) -> None:
        self.into.append(logging.Formatter().format(record))


def renamed(name: str) -> list[dict[str, Any]]:
    """The events of a small trace, each operator and kernel of it called so."""
    return [
        {**event, "name": name} if event["cat"] in ("cpu_op", "kernel") else event
        for event in events()
    ]


def faults(board: Board, count: int, seed: int) -> tuple[Counter[str], list[str]]:
    """Ask `count` mutated questions, half of them with the cookie. (how they were answered, what
    was wrong)
    """
    rng, answered, wrong = random.Random(seed), Counter[str](), list[str]()
    heard = Heard(board.logged)
    logging.getLogger().addHandler(heard)
    board.app.server.logger.addHandler(heard)
    try:
        for _ in range(count):
            asking = mutated(rng.choice(board.seeds), rng)
            known = rng.random() < 0.6
            status, why = ask(board, asking, known)
            answered[f"{'known' if known else 'unknown'} {status}"] += 1
            if why is not None:
                wrong.append(f"{why}: {str(asking)[:600]}")
            if len(wrong) > 5:
                break
    finally:
        logging.getLogger().removeHandler(heard)
        board.app.server.logger.removeHandler(heard)
    return answered, wrong


def ask(board: Board, asking: Asking, known: bool) -> tuple[int, str | None]:
    """(status, what is wrong with the answer)"""
    header = f"{board.access.cookie}={board.access.cookie_value(None)}"
    cookie = {"HTTP_COOKIE": header} if known else {}
    base = create_environ("/", headers=ORIGIN, **AT_ADDRESS)
    began_s = time.monotonic()
    body, status, headers = run_wsgi_app(
        board.app.server, asking.environ({**base, **cookie}), buffered=True
    )
    data, code = b"".join(body), int(status.split()[0])
    text = data.decode("utf-8", "replace")
    admitted = known and "HTTP_COOKIE" not in asking.headers
    if code >= 500 or board.logged:
        logged, board.logged[:] = "\n".join(board.logged), []
        return code, logged or f"status {code}"
    if time.monotonic() - began_s > LONGEST_S:
        return code, "slow"
    if (
        OUTSIDE in text
        or "Traceback (most recent" in text
        or "root:x:0" in text
        or str(board.access.token) in text
    ):
        return code, "something is in the answer that must not be"
    if (
        "frame-ancestors 'none'" not in headers.get("Content-Security-Policy", "")
        or "X-Injected" in headers
    ):
        return code, "headers"
    if not admitted and (code in (200, 204, 302) or INSIDE in text or len(data) > 20_000):
        return code, "answered without the token"
    return code, None
