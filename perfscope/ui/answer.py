"""From a run folder to an answer: JSON, terminal view, HTML report."""

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
    about_to_print: Callable[[], None] = lambda: None,
) -> int:
    """Read the run, then as `answer_trace`. Raises UnreadableRun."""
    from perfscope.traces.load import load

    return answer_trace(load(folder), json=json, html=html, about_to_print=about_to_print)


def answer_trace(
    trace: "Trace",
    *,
    json: bool,
    html: Path | None,
    kept_for: Path | None = None,
    about_to_print: Callable[[], None] = lambda: None,
) -> int:
    """Diagnose the trace, show it on stdout and write the report; returns the exit code.

    With `kept_for`, the file that the trace was read from, the answer is kept for `answered_again`.
    Raises PerfscopeError when the report cannot be written (the diagnosis is printed all the same).
    """
    from perfscope.analyzer.diagnose import diagnose

    diagnosis = diagnose(trace)
    unwritten = None
    if html is not None:
        try:
            save(trace, diagnosis, html)
        except PerfscopeError as error:
            unwritten = error
    about_to_print()
    print_answer(diagnosis, trace, json=json)
    if kept_for is not None:
        from perfscope.ui.answer_cache import keep_answer
        from perfscope.ui.phrases import about

        keep_answer(kept_for, about(diagnosis, trace), diagnosis)
    if unwritten is not None:
        raise unwritten
    if html is not None:
        print_line(f"wrote {html}", sys.stderr)
    return 0


def answered_again(path: Path, *, json: bool) -> bool:
    """Print the answer that was kept for the trace at `path`; False when there is none that
    counts.
    """
    from perfscope.ui.answer_cache import recalled_answer

    answer = recalled_answer(path)
    if answer is not None:
        print_answer(answer.diagnosis, None, json=json, who=answer.who)
    return answer is not None


def print_answer(
    diagnosis: "Diagnosis", trace: "Trace | None", *, json: bool, who: list[str] | None = None
) -> None:
    """On stdout."""
    if json:
        print_json(diagnosis)
    else:
        from perfscope.ui.terminal.diagnosis_view import show

        show(diagnosis, trace, sys.stdout, who=who)


def while_shown(read: Callable[[], "Trace"], *, kept: bool) -> "Trace":
    """What `read` reads; on stderr how far it is. `kept`: a large trace is kept for the next time,
    or was.
    """
    from perfscope.traces.reading_options import reading
    from perfscope.ui.terminal.reading_bar import reading_bar

    with (
        reading_bar(sys.stderr) as heard,
        reading(heard, kept=kept),
        ThreadPoolExecutor(1) as beside,
    ):
        trace = beside.submit(read)
        import perfscope.analyzer.diagnose  # noqa: F401  it takes its time to import: meanwhile the trace is read

        return trace.result()


def report(folder: Path, path: Path, *, json: bool) -> int:
    """Write the HTML report of a run folder; `json` prints the diagnosis too. Returns the exit
    code; errors as above.
    """
    trace, diagnosis = diagnosed(folder)
    if json:
        print_json(diagnosis)
    save(trace, diagnosis, path)
    print_line(f"wrote {path}", sys.stderr if json else sys.stdout)
    return 0


def diagnosed(folder: Path) -> "tuple[Trace, Diagnosis]":
    from perfscope.analyzer.diagnose import diagnose
    from perfscope.traces.load import load

    trace = load(folder)
    return trace, diagnose(trace)


def print_json(diagnosis: "Diagnosis") -> None:
    print(encoded(diagnosis))


def encoded(diagnosis: "Diagnosis") -> str:
    """The diagnosis as JSON, for people too."""
    return json_text(diagnosis, indent=2)


def save(trace: "Trace", diagnosis: "Diagnosis", path: Path) -> None:
    from perfscope.ui.html.report import write_report

    try:
        write_report(trace, diagnosis, path)
    except OSError as error:
        raise PerfscopeError(f"cannot write {path}: {error.strerror}; name another file") from None
