"""Runs the real commands over mutated run folders and traces: `python -m
tests.safety.long_fuzz_commands --count 20000`.

This process imports perfscope once; each command runs in a forked child, with ten seconds of a core
and a bound on memory. Fails on a traceback, on an exit code other than 0, 1 and 2, on a command
that takes longer and on one that a signal ends. `--only NUMBER` runs one command again and shows
what it printed.
"""

import argparse
import contextlib
import importlib
import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import flask

import perfscope.commands.export
from perfscope.analyzer.diagnose import diagnose_trace
from perfscope.cli import main as perfscope_main
from perfscope.errors import PerfscopeError
from perfscope.ui.dashboard.open_runs import Library
from perfscope.ui.dashboard.pages import PAGES
from perfscope.ui.dashboard.view import View
from perfscope.ui.html.report import page
from perfscope.ui.timeline import routes
from tests.safety.long_fuzz_readers import Fuzzer
from tests.safety.mutations import ODD_VALUES, Mutator

LONGEST_S = 10
"""Of a command, in time of a core."""
LONGEST_WAIT_S = 60
"""After which a command hangs, also on a busy machine."""
MEMORY_BYTES = 4 << 30
MOST_FAILURES = 30
LARGEST_CHANGED_BYTES = 1 << 20
TIMELINE = ("meta", "tile", "names", "strip", "select", "search", "hit", "event")
ODD_QUERY = (
    "0",
    "1",
    "-1",
    "9" * 30,
    "x",
    "",
    "1e5",
    "0-40",
    "0-4000000000",
    "name",
    "operator",
    "\x00",
    "%00",
    "٣",
    "0,1,2",
)
ODD_NAMES = (
    "a\x1b[31mb",
    "a\nb",
    "\udcff\udcfe",
    "-x",
    "a b",
    "'\"$(x)",
    "é",
    "rank" + "9" * 40,
    "a" * 200,
)


@dataclass
class Done:
    """How one command ended: its exit code (negative: by that signal), and what it wrote."""

    code: int
    stdout: str
    stderr: str
    seconds: float
    memory_bytes: int

    def fault(self) -> str | None:
        """What is wrong with it, None when nothing is."""
        if self.seconds > LONGEST_S:
            return f"took {self.seconds:.1f} s"
        if self.code not in (0, 1, 2):
            return f"exit code {self.code}"
        if "Traceback (most recent call last)" in self.stderr:
            return "a traceback"
        if self.memory_bytes > MEMORY_BYTES:
            return f"{self.memory_bytes >> 20} MB"
        if self.code and not self.stderr.strip():
            return f"exit code {self.code} without a word"
        return None


@dataclass
class Counts:
    """What became of all commands."""

    commands: Counter[str] = field(default_factory=Counter)
    codes: Counter[int] = field(default_factory=Counter)
    failed_findings: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    slowest_s: float = 0.0
    most_bytes: int = 0


class Commands:
    """Makes the inputs and the command lines."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.fuzzer = folder, Fuzzer(folder)

    def target(self, chance: random.Random) -> Path:
        """Something to read, new in the folder: a run folder (mostly), a trace, an export, or a
        folder of several.
        """
        kind = chance.random()
        name = chance.choice(ODD_NAMES) if chance.random() < 0.05 else "x"
        if kind < 0.6:
            return self.run_folder(chance, f"{name}.perfscope")
        if kind < 0.75:
            path = self.folder / f"{name}.json"
            path.write_bytes(Mutator(chance).either(self.fuzzer.small_trace(chance)))
            return path
        if kind < 0.82:
            path, mutator = self.folder / f"{name}.json.gz", Mutator(chance)
            path.write_bytes(mutator.packed(mutator.either(self.fuzzer.small_trace(chance))))
            return path
        if kind < 0.93:
            path = self.folder / f"{name}.sqlite"
            path.write_bytes(chance.choice(self.fuzzer.exports))
            Mutator(chance).database(path)
            return path
        folder = self.folder / f"{name}.several"
        folder.mkdir()
        for rank in range(chance.randint(2, 3)):
            text = Mutator(chance).by_structure(self.fuzzer.small_trace(chance))
            (folder / f"rank{rank}.json").write_bytes(text)
        return folder

    def run_folder(self, chance: random.Random, name: str) -> Path:
        """A run folder with a few changed files, sometimes with one that is not a regular file."""
        folder = self.folder / name
        shutil.copytree(self.fuzzer.run_seed, folder)
        mutator = Mutator(chance)
        for _ in range(chance.randint(1, 4)):
            files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
            chosen = chance.choice(
                sorted(file for file in files if file.stat().st_size < LARGEST_CHANGED_BYTES)
            )
            if chance.random() < 0.05:
                self.exchange(chosen if chance.random() < 0.7 else chosen.parent, chance)
            else:
                self.fuzzer.change(mutator, chosen, chance)
        return folder

    def exchange(self, path: Path, chance: random.Random) -> None:
        """Put a link, a pipe, a folder or a sparse file in the place of a file."""
        kind = chance.choice(("link", "fifo", "folder", "sparse", "loop"))
        if path.is_dir() and path.parent == self.folder:
            return
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        if kind == "link":
            path.symlink_to(
                chance.choice(
                    ("/etc/passwd", "/dev/zero", "/proc/self/mem", "/", self.fuzzer.run_seed)
                )
            )
        elif kind == "loop":
            path.symlink_to(path.name)
        elif kind == "fifo":
            os.mkfifo(path)
        elif kind == "folder":
            path.mkdir()
        else:
            path.touch()
            os.truncate(path, chance.choice((1 << 20, 64 << 20, 1 << 40)))

    def command(self, chance: random.Random) -> tuple[str, Callable[[], int]]:
        """A command line as text, and what runs it."""
        path, out = self.target(chance), self.folder / "out"
        kind = chance.random()
        if kind < 0.5:
            more = chance.choice(([], ["--json"], ["--json"], ["--json"], ["--no-cache"]))
            return self.real("analyze", str(path), *more)
        if kind < 0.56:
            return self.real("report", str(path), "-o", f"{out}.html")
        if kind < 0.9:
            return self.real(
                "export",
                str(path),
                "--to",
                chance.choice(perfscope.commands.export.FORMATS),
                "-o",
                str(out),
            )
        if kind < 0.96:
            return self.real("explain", chance.choice(ODD_VALUES).replace("\x00", "")[:2000])
        return f"dashboard of {path.name!r}", lambda: dashboard(
            path, random.Random(chance.random())
        )

    def real(self, *words: str) -> tuple[str, Callable[[], int]]:
        """A command of the command line."""
        return f"perfscope {' '.join(map(repr, words))}", lambda: perfscope_main(list(words))

    def clean(self) -> None:
        """Remove what one input left."""
        for path in self.folder.iterdir():
            if not path.name.startswith("seed"):
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def dashboard(path: Path, chance: random.Random) -> int:
    """Lay out every page of the dashboard for what is at `path`, and ask the timeline's addresses
    for odd things.
    """
    library = Library(path)
    for found in library.runs():
        try:
            opened = library.get(found.id)
        except PerfscopeError as error:
            print(f"perfscope: {error}", file=sys.stderr)
            return error.exit_code
        search = f"?{chance.choice(('rank', 'by', 'rows', 'at', 'x'))}={chance.choice(ODD_QUERY)}"
        for dashboard_page in PAGES:
            if dashboard_page.not_applicable(opened.trace) is None:
                dashboard_page.layout(View.of(opened, search))
        page(opened.trace, opened.diagnosis)
        addresses(found.id, opened.trace, chance)
    return 0


def addresses(run: str, trace: Any, chance: random.Random) -> None:
    """Ask the timeline's addresses for odd things. Raises AssertionError for an answer that says
    the server broke.
    """
    server = flask.Flask("fuzz")
    server.config["PROPAGATE_EXCEPTIONS"] = True
    diagnosis = diagnose_trace(trace)
    routes.add_timeline_routes(server, lambda _: trace, lambda _: diagnosis)
    client = server.test_client()
    for route in TIMELINE:
        asked = {
            "from": "0",
            "to": "1000000000",
            "pixels": "100",
            "first": "0",
            "count": "10",
            "columns": "10",
            "lanes": "0-5",
        }
        asked |= {"by": "name", "most": "10", "words": "a", "at": "0", "lane": "0"}
        for _ in range(chance.randint(0, 2)):
            asked[chance.choice(list(asked))] = chance.choice(ODD_QUERY)
        code = client.get(f"/timeline/{run}/{route}", query_string=asked).status_code
        assert code in (200, 400, 404), (route, asked, code)


def run_forked(run: Callable[[], int], folder: Path, longest_s: float = LONGEST_WAIT_S) -> Done:
    """Run something in a child with its output in files, within the bounds."""
    begun = time.monotonic()
    child = os.fork()
    if child == 0:
        code = 70
        try:
            code = in_child(run, folder)
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    status, usage = waited_for(child, begun + longest_s)
    seconds = usage.ru_utime + usage.ru_stime if os.WIFEXITED(status) else time.monotonic() - begun
    stdout, stderr = (
        (folder / name).read_text("utf-8", "replace") for name in ("stdout", "stderr")
    )
    return Done(os.waitstatus_to_exitcode(status), stdout, stderr, seconds, usage.ru_maxrss << 10)


def in_child(run: Callable[[], int], folder: Path) -> int:
    """What the forked child does; returns its exit code."""
    for number, name in ((1, "stdout"), (2, "stderr")):
        handle = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(handle, number)
        os.close(handle)
    sys.stdout, sys.stderr = (
        open(1, "w", closefd=False),
        open(2, "w", closefd=False, errors="backslashreplace"),
    )
    resource.setrlimit(resource.RLIMIT_AS, (2 * MEMORY_BYTES, 2 * MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.setpgid(0, 0)
    try:
        return run()
    except SystemExit as end:
        return int(end.code or 0)
    except BaseException:  # noqa: BLE001  as the interpreter does
        traceback.print_exc()
        return 1


def waited_for(child: int, until_s: float) -> tuple[int, resource.struct_rusage]:
    """The status of a child that has ended, or was ended because it takes too long."""
    while time.monotonic() < until_s:
        pid, status, usage = os.wait4(child, os.WNOHANG)
        if pid:
            return status, usage
        time.sleep(0.004)
    os.kill(child, signal.SIGKILL)
    _, status, usage = os.wait4(child, 0)
    return status, usage


def import_what_commands_import(commands: Commands, outputs: Path) -> None:
    """Import here what every command imports, so that no child has to: a child reports what it has
    imported.
    """
    seed = str(commands.fuzzer.run_seed)
    lines = [
        ["analyze", seed],
        ["analyze", seed, "--json"],
        ["report", seed, "-o", str(outputs / "out.html")],
        ["explain"],
    ]
    lines += [
        ["export", seed, "--to", format, "-o", str(outputs / format)]
        for format in perfscope.commands.export.FORMATS
    ]
    lines += [["analyze", str(commands.folder / "seed1.sqlite")]]

    def run_all() -> int:
        for line in lines:
            perfscope_main(line)
        dashboard(commands.fuzzer.run_seed, random.Random(1))
        (outputs / "modules").write_text("\n".join(sys.modules))
        return 0

    run_forked(run_all, outputs, 300)
    for name in (outputs / "modules").read_text().split("\n"):
        if name.split(".")[0] != "__main__":
            with contextlib.suppress(ImportError):
                importlib.import_module(name)


def run_command(commands: Commands, outputs: Path, number: int, seed: int, counts: Counts) -> Done:
    """Make one input, run one command with it, and count how it ended."""
    words, run = commands.command(random.Random(f"{seed} {number}"))
    try:
        done = run_forked(run, outputs)
    finally:
        commands.clean()
    counts.commands[words.split()[1]] += 1
    counts.codes[done.code] += 1
    counts.slowest_s = max(counts.slowest_s, done.seconds)
    counts.most_bytes = max(counts.most_bytes, done.memory_bytes)
    if done.stdout.startswith("{"):
        for failed in json.loads(done.stdout).get("failed", []):
            counts.failed_findings[f"{failed['id']}: {failed['error']}"[:200]] += 1
    fault = done.fault()
    if fault is not None:
        counts.failures.append(
            f"--seed {seed} --only {number}: {fault}\n{words}\n{done.stderr[-2500:]}"
        )
    return done


def fuzz(total: int, seed: int, first: int = 0, say: Callable[[str], None] = print) -> Counts:
    """Run `total` commands, and return how they ended."""
    counts, printed_s = Counts(), time.monotonic()
    room = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with (
        tempfile.TemporaryDirectory(dir=room) as folder,
        tempfile.TemporaryDirectory(dir=room) as outputs,
    ):
        os.environ["XDG_CACHE_HOME"] = outputs
        commands = Commands(Path(folder))
        import_what_commands_import(commands, Path(outputs))
        for number in range(first, first + total):
            before = len(counts.failures)
            run_command(commands, Path(outputs), number, seed, counts)
            for line in counts.failures[before:]:
                say(f"FAILED {line}")
            if time.monotonic() - printed_s > 60:
                printed_s = time.monotonic()
                say(f"{number + 1 - first:,} commands, failures: {len(counts.failures)}")
            if len(counts.failures) >= MOST_FAILURES:
                break
    return counts


def print_counts(counts: Counts) -> bool:
    """Print how the commands ended; return whether none failed."""
    print(
        f"{sum(counts.commands.values()):,} commands: {dict(counts.commands)}, exit codes"
        f" {dict(counts.codes)}, slowest {counts.slowest_s:.1f} s, {counts.most_bytes >> 20} MB at"
        f" most, {len(counts.failures)} failures"
    )
    for line, count in counts.failed_findings.most_common(40):
        print(f"a finding that failed, {count} times: {line}")
    return not counts.failures


def main() -> int:
    """Fuzz, or run one command again."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", type=int, metavar="NUMBER", help="run this command alone")
    args = parser.parse_args()
    if args.only is None:
        counts = fuzz(args.count, args.seed, say=lambda line: print(line, flush=True))
        return 0 if print_counts(counts) else 1
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as outputs:
        os.environ["XDG_CACHE_HOME"] = outputs
        done = run_command(Commands(Path(folder)), Path(outputs), args.only, args.seed, Counts())
    print(done.stdout, done.stderr, done.code, done.seconds, done.fault(), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
