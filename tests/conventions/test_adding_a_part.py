"""A new finding, reader, collector, command or page is one file and one line in a list.

Each test follows the table in CONTRIBUTING.md in a copy of the package, and uses the new part.
"""

import json
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.conventions.sources import ROOT

TRACE = {
    "traceEvents": [
        {
            "ph": "X",
            "cat": "cpu_op",
            "name": "aten::mm",
            "pid": 1,
            "tid": 1,
            "ts": 10 * at,
            "dur": 9,
        }
        for at in range(50)
    ]
}


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A copy of the package that its commands run from."""
    shutil.copytree(
        ROOT / "perfscope", tmp_path / "perfscope", ignore=shutil.ignore_patterns("__pycache__")
    )
    (tmp_path / "trace.json").write_text(json.dumps(TRACE))
    return tmp_path


def add_file(package: Path, path: str, text: str) -> None:
    (package / "perfscope" / path).write_text(textwrap.dedent(text))


def add_line(package: Path, path: str, old: str, new: str) -> None:
    """Put `new` in place of `old`, which is in the file once: the import, or the line of a list."""
    file = package / "perfscope" / path
    text = file.read_text()
    assert text.count(old) == 1, (path, old)
    file.write_text(text.replace(old, new))


def perfscope(package: Path, *words: str) -> str:
    """Return what a command of the copy prints on stdout."""
    done = subprocess.run(
        [sys.executable, "-m", "perfscope", *words],
        cwd=package,
        env={**os.environ, "PYTHONPATH": str(package)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_finding_is_one_file_and_one_line(package: Path) -> None:
    text = '''
    """Odd number of operators.

    What it means
        The recording has an odd or an even number of operators.
    How it is detected
        By counting.
    What to do
        Nothing.
    When it is wrong
        Never.
    """

    from perfscope.analyzer.diagnosis import Finding
    from perfscope.analyzer.limits import Limits
    from perfscope.analyzer.rule import Rule, Unmet
    from perfscope.analyzer.run.table_access import table
    from perfscope.traces.trace import Trace

    ID = "operator-count"


    def not_applicable(trace: Trace, limits: Limits) -> Unmet | None:
        return None


    def detect(trace: Trace, limits: Limits) -> Finding | None:
        count = len(table(trace, "ops"))
        return Finding(ID, None, "info", 0.0, 0.0, None, f"{count} operators", [], [])


    RULE = Rule(ID, not_applicable, detect, needs=("ops",), color="host-bound")
    '''
    add_file(package, "analyzer/host/operator_count.py", text)
    add_line(
        package,
        "analyzer/findings.py",
        "    memory_growth,\n",
        "    memory_growth,\n    operator_count,\n",
    )
    add_line(
        package,
        "analyzer/findings.py",
        "    memory_growth.RULE,\n",
        "    memory_growth.RULE,\n    operator_count.RULE,\n",
    )
    answer = json.loads(perfscope(package, "analyze", "trace.json", "--json", "--no-cache"))
    found = {finding["id"]: finding["headline"] for finding in answer["findings"]}
    assert found["operator-count"] == "50 operators"
    assert "By counting" in perfscope(package, "explain", "operator-count")


def test_a_reader_is_one_file_and_one_line(package: Path) -> None:
    text = '''
    """Text files with one operator per line: its name, begin and duration in microseconds."""

    from pathlib import Path
    from typing import TYPE_CHECKING

    from perfscope.traces.reader import Reader

    if TYPE_CHECKING:
        from perfscope.traces.trace import Trace


    def sniff(path: Path) -> bool:
        return path.suffix == ".operators"


    def read(path: Path) -> "Trace":
        import json

        from perfscope.traces.readers import kineto

        thread = {"ph": "X", "cat": "cpu_op", "pid": 1, "tid": 1}
        events = []
        for line in path.read_text().splitlines():
            name, ts, dur = line.split()
            events.append({**thread, "name": name, "ts": int(ts), "dur": int(dur)})
        copy = path.with_suffix(".json")
        copy.write_text(json.dumps({"traceEvents": events}))
        return kineto.READER.read(copy)


    READER = Reader("lines", "operators as text (.operators)", sniff, read)
    '''
    add_file(package, "traces/readers/lines.py", text)
    path = "traces/readers/__init__.py"
    add_line(package, path, "import kineto, nsys, run", "import kineto, lines, nsys, run")
    add_line(package, path, "(run.READER, ", "(run.READER, lines.READER, ")
    rows = [f"aten::mm {10 * at} 9" for at in range(50)]
    (package / "some.operators").write_text("\n".join(rows))
    answer = json.loads(perfscope(package, "analyze", "some.operators", "--json", "--no-cache"))
    assert answer["span_s"] == pytest.approx(499e-6)


def test_a_collector_is_one_file_and_one_line(package: Path) -> None:
    text = '''
    """How often it was polled."""

    from perfscope.agent.collector import Collector, Job
    from perfscope.traces.run_folder.manifest import SourceStatus


    class Polls(Collector):
        """Counts its polls."""

        NAME = "polls"
        PERIOD_NS = 100_000_000

        def start(self, job: Job) -> None:
            self.count = 0

        def poll(self, now_ns: int) -> int:
            self.count += 1
            return now_ns + self.PERIOD_NS

        def stop(self) -> SourceStatus:
            return SourceStatus(self.NAME, "partial", f"polled {self.count} times")
    '''
    add_file(package, "agent/collectors/polls.py", text)
    path = "agent/collectors/__init__.py"
    line = "from perfscope.agent.collectors.probe import Probes\n"
    add_line(package, path, line, f"from perfscope.agent.collectors.polls import Polls\n{line}")
    add_line(package, path, "    Stacks,\n)", "    Stacks,\n    Polls,\n)")
    sleeps = [sys.executable, "-c", "import time; time.sleep(3)"]
    perfscope(package, "run", "--depth", "observe", "--json=answer.json", "--", *sleeps)
    answer = json.loads((package / "answer.json").read_text())
    source = next(each for each in answer["sources"] if each["name"] == "polls")
    assert source["status"] == "partial" and int(source["reason"].split()[1]) > 2


def test_a_command_is_one_file_and_one_line(package: Path) -> None:
    text = '''
    """Print a word in reverse."""

    import argparse
    from dataclasses import dataclass


    @dataclass(frozen=True)
    class ReverseArguments:
        """The arguments of `perfscope reverse`."""

        word: str


    ARGUMENTS = ReverseArguments


    def add_arguments(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("word")


    def run(args: ReverseArguments) -> int:
        print(args.word[::-1])
        return 0
    '''
    add_file(package, "commands/reverse.py", text)
    path = "commands/__init__.py"
    add_line(package, path, "report, run, top, ui\n", "report, reverse, run, top, ui\n")
    add_line(package, path, "export, explain)", "export, explain, reverse)")
    assert perfscope(package, "reverse", "scope") == "epocs\n"
    assert "reverse" in perfscope(package, "--help")


def test_a_page_is_one_file_and_one_line(package: Path) -> None:
    text = '''
    """How many tables a run has."""

    from typing import Any

    from dash import html

    from perfscope.traces.trace import Trace
    from perfscope.ui.dashboard.page import Page
    from perfscope.ui.dashboard.view import View


    def not_applicable(trace: Trace) -> str | None:
        return None


    def layout(view: View) -> list[Any]:
        return [html.P(f"operators: {len(view.trace.table('ops'))}")]


    PAGE = Page("counts", "Counts", not_applicable, layout)
    '''
    add_file(package, "ui/dashboard/pages/counts.py", text)
    path = "ui/dashboard/pages/__init__.py"
    add_line(package, path, "    communication,\n", "    communication,\n    counts,\n")
    add_line(package, path, "    host.PAGE,\n", "    host.PAGE,\n    counts.PAGE,\n")
    assert "operators: 50" in page_of_copy(package, "counts")


def page_of_copy(package: Path, page: str) -> str:
    """Return the text of a page of the copy's dashboard for the trace."""
    program = f"""
    from pathlib import Path
    import perfscope
    from perfscope.traces.folder_contents import url_id
    from tests.ui.dashboard_client import DashboardClient

    assert Path(perfscope.__file__).is_relative_to({str(package)!r})
    print(DashboardClient(Path()).text("/run/" + url_id("trace.json") + "/{page}"))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        cwd=package,
        env={**os.environ, "PYTHONPATH": f"{package}:{ROOT}"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
