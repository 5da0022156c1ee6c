"""The way from a run folder or a trace to an answer: JSON, terminal view, HTML report."""

import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from perfscope.errors import PerfscopeError
from perfscope.ui.json_text import json_text
from perfscope.ui.terminal.output import print_line

if TYPE_CHECKING:
    from perfscope.analyzer.diagnosis import Diagnosis
    from perfscope.traces.trace import Trace


def answer(
    folder: Path,
    *,
    json: bool,
    html: Path | None,
    verbose: bool = False,
    about_to_print: Callable[[], None] = lambda: None,
) -> int:
    """Read the run, then do what `answer_trace` does. Raises UnreadableRun."""
    from perfscope.traces.load import load

    trace = load(folder)
    return answer_trace(trace, json=json, html=html, verbose=verbose, about_to_print=about_to_print)


def answer_trace(
    trace: "Trace",
    *,
    json: bool,
    html: Path | None,
    verbose: bool = False,
    kept_for: Path | None = None,
    about_to_print: Callable[[], None] = lambda: None,
) -> int:
    """Diagnose the trace, print the diagnosis and write the report; return the exit code.

    `kept_for` is the file that the trace was read from; its answer is stored in the cache for
    `answered_again`. Raises PerfscopeError when the report cannot be written; the diagnosis is
    printed first.
    """
    from perfscope.analyzer.diagnose import diagnose

    diagnosis = diagnose(trace)
    write_error = None
    if html is not None:
        try:
            save(trace, diagnosis, html)
        except PerfscopeError as error:
            write_error = error
    about_to_print()
    print_answer(diagnosis, trace, json=json, verbose=verbose)
    if kept_for is not None:
        from perfscope.ui.answer_cache import keep_answer
        from perfscope.ui.phrases import describe_subject

        keep_answer(kept_for, describe_subject(trace), diagnosis)
    if write_error is not None:
        raise write_error
    if html is not None:
        print_line(f"wrote {html}", sys.stderr)
    return 0


def answered_again(path: Path, *, json: bool, verbose: bool = False) -> bool:
    """Print the cached answer for the trace at `path`; return False where there is none."""
    from perfscope.ui.answer_cache import recalled_answer

    cached = recalled_answer(path)
    if cached is None:
        return False
    print_answer(cached.diagnosis, None, json=json, verbose=verbose, subject=cached.subject)
    return True


def print_answer(
    diagnosis: "Diagnosis",
    trace: "Trace | None",
    *,
    json: bool,
    verbose: bool = False,
    subject: list[str] | None = None,
) -> None:
    """Print the diagnosis on stdout, as JSON or for people."""
    if json:
        print_json(diagnosis)
    else:
        from perfscope.ui.terminal.diagnosis_view import show

        show(diagnosis, trace, sys.stdout, verbose=verbose, subject=subject)


def while_shown(read: Callable[[], "Trace"], *, kept: bool) -> "Trace":
    """Return what `read` reads, with its progress on stderr; `kept` lets it use the cache."""
    from perfscope.traces.reading_options import reading
    from perfscope.ui.terminal.reading_bar import reading_bar

    with (
        reading_bar(sys.stderr) as bar,
        reading(bar, kept=kept),
        ThreadPoolExecutor(1) as reader,
    ):
        future = reader.submit(read)
        # Importing it takes long enough to be worth doing while the trace is read.
        import perfscope.analyzer.diagnose  # noqa: F401

        return future.result()


def report(folder: Path, path: Path, *, json: bool) -> int:
    """Write the HTML report of a run folder; print the diagnosis too where `json` is set.

    Returns the exit code. Raises what `answer` raises.
    """
    trace, diagnosis = diagnosed(folder)
    if json:
        print_json(diagnosis)
    save(trace, diagnosis, path)
    print_line(f"wrote {path}", sys.stderr if json else sys.stdout)
    return 0


def diagnosed(folder: Path) -> "tuple[Trace, Diagnosis]":
    """Return the run of a folder and its diagnosis."""
    from perfscope.analyzer.diagnose import diagnose
    from perfscope.traces.load import load

    trace = load(folder)
    return trace, diagnose(trace)


def print_json(diagnosis: "Diagnosis") -> None:
    """Print the diagnosis as JSON on stdout."""
    print(encoded(diagnosis))


def encoded(diagnosis: "Diagnosis") -> str:
    """Return the diagnosis as indented JSON."""
    return json_text(diagnosis, indent=2)


def save(trace: "Trace", diagnosis: "Diagnosis", path: Path) -> None:
    """Write the HTML report. Raises PerfscopeError where the file cannot be written."""
    from perfscope.ui.html.report import write_report

    try:
        write_report(trace, diagnosis, path)
    except OSError as error:
        raise PerfscopeError(f"cannot write {path}: {error.strerror}; name another file") from None
