"""The way from a run folder or a trace to an answer: JSON, terminal view, HTML report."""

import gc
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from perfscope.analyzer.latency_limit import LatencyLimit
from perfscope.errors import PerfscopeError, UsageError
from perfscope.ui.json_text import json_text
from perfscope.ui.terminal.output import print_line

if TYPE_CHECKING:
    from perfscope.analyzer.diagnosis import Diagnosis
    from perfscope.traces.trace import Trace
    from perfscope.ui.answer_cache import FileToRead


NO_REQUESTS = (
    "perfscope: --slo needs requests, and none were recorded. See docs/serving.md for the servers"
    " whose requests are timed, or mark them with perfscope.request()."
)
NEW_OBJECTS = 100_000
"""Garbage is searched for after this many new objects. Python's default is 700."""
STDOUT = Path("-")
"""The place of JSON that goes to stdout."""


@dataclass(frozen=True)
class AnswerOptions:
    """Where the answer to a trace goes."""

    json: Path | None = None
    """A file, `STDOUT` (then nothing else is printed there), or None."""
    html: Path | None = None
    ignored: tuple[str, ...] = ()
    """Ids of findings that have no influence on the verdict."""
    redact: bool = False
    """Whether names of the user's own are replaced by hashes."""
    verbose: bool = False
    """Whether everything is printed, and not one screen of it."""
    service_levels: tuple[LatencyLimit, ...] = ()
    """The latencies that the user wants (`--slo`)."""

    @property
    def prints_json(self) -> bool:
        """Whether stdout holds the diagnosis as JSON and nothing else."""
        return self.json == STDOUT

    @property
    def json_file(self) -> Path | None:
        """The file that the JSON is written to."""
        return None if self.prints_json else self.json

    @property
    def files(self) -> list[Path]:
        """The files to write."""
        return [path for path in (self.json_file, self.html) if path is not None]


def refuse_missing_folders(options: AnswerOptions) -> None:
    """Raise UsageError where the folder of a file to write does not exist."""
    for path in options.files:
        folder = path.resolve().parent
        if not folder.is_dir():
            raise UsageError(
                f"cannot write {path.name}: there is no folder {folder}. Create it, or name"
                " another file."
            )


def answer(
    folder: Path,
    options: AnswerOptions,
    about_to_print: Callable[[], None] = lambda: None,
) -> int:
    """Read the run, then do what `answer_trace` does. Raises UnreadableRun."""
    from perfscope.traces.load import load_trace

    return answer_trace(load_trace(folder), options, about_to_print=about_to_print)


def answer_trace(
    trace: "Trace",
    options: AnswerOptions,
    *,
    kept_for: "FileToRead | None" = None,
    about_to_print: Callable[[], None] = lambda: None,
) -> int:
    """Diagnose the trace, print the diagnosis and write the files; return the exit code.

    With `kept_for`, the file before the trace was read from it, the answer is cached for
    `print_cached_answer`. Raises PerfscopeError when a file cannot be written; the diagnosis is
    printed even then.
    """
    from perfscope.analyzer.diagnose import diagnose_trace

    trace = redact_if_wanted(trace, options)
    diagnosis = diagnose_trace(
        trace, ignored=options.ignored, service_levels=options.service_levels
    )
    error = write_files(trace, diagnosis, options)
    about_to_print()
    print_answer(diagnosis, trace, options)
    if options.service_levels and diagnosis.requests is None:
        print_line(NO_REQUESTS, sys.stderr)
    if kept_for is not None:
        from perfscope.ui.answer_cache import keep_answer
        from perfscope.ui.phrases import describe_subject

        keep_answer(kept_for, describe_subject(trace), diagnosis)
    if error is not None:
        raise error
    for path in options.files:
        print_line(f"wrote {path}", sys.stderr)
    return 0


def redact_if_wanted(trace: "Trace", options: AnswerOptions) -> "Trace":
    """Return the trace to diagnose: the same, or redacted."""
    if not options.redact:
        return trace
    from perfscope.traces.privacy.redacted_trace import redacted_trace

    return redacted_trace(trace)


def write_files(
    trace: "Trace", diagnosis: "Diagnosis", options: AnswerOptions
) -> PerfscopeError | None:
    """Write the JSON and the report, where wanted; return the first error."""
    error = None
    try:
        if options.html is not None:
            save(trace, diagnosis, options.html)
    except PerfscopeError as unwritten:
        error = unwritten
    try:
        if options.json_file is not None:
            write_diagnosis(diagnosis, options.json_file)
    except PerfscopeError as unwritten:
        error = error or unwritten
    return error


def print_cached_answer(path: Path, options: AnswerOptions) -> bool:
    """Print the cached answer for the trace at `path`; return False where there is none."""
    from perfscope.ui.answer_cache import recalled_answer

    cached = recalled_answer(path)
    if cached is None:
        return False
    print_answer(cached.diagnosis, None, options, subject=cached.subject)
    return True


def print_answer(
    diagnosis: "Diagnosis",
    trace: "Trace | None",
    options: AnswerOptions,
    *,
    subject: list[str] | None = None,
) -> None:
    """Print the diagnosis on stdout, as JSON or for people."""
    if options.prints_json:
        print_json(diagnosis)
    else:
        from perfscope.ui.terminal.diagnosis_view import show

        show(diagnosis, trace, sys.stdout, verbose=options.verbose, subject=subject)


def read_with_progress(read: Callable[[], "Trace"], *, kept: bool) -> "Trace":
    """Return what `read` reads, with its progress on stderr; `kept` lets it use the cache."""
    from concurrent.futures import ThreadPoolExecutor

    from perfscope.traces.allocator import share_heap
    from perfscope.traces.reading_options import reading
    from perfscope.ui.terminal.reading_bar import reading_bar

    share_heap()
    with (
        reading_bar(sys.stderr) as bar,
        reading(bar, use_cache=kept),
        ThreadPoolExecutor(1) as reader,
    ):
        future = reader.submit(read)
        # Importing it takes long enough to be worth doing while the trace is read.
        import_analyzer()
        return future.result()


def import_analyzer() -> None:
    """Import what diagnoses a trace.

    The imports and the tables of a job make many objects that live until the end, and hardly any
    garbage. Searching them all for it would take a fifth of the time of a job of 500 ranks.
    """
    gc.disable()
    try:
        import perfscope.analyzer.diagnose  # noqa: F401
    finally:
        gc.freeze()
        gc.set_threshold(NEW_OBJECTS)
        gc.enable()


def write_report_of_run(folder: Path, options: AnswerOptions) -> int:
    """Write the report of a run folder, and the JSON if wanted; return the exit code.

    Raises UnreadableRun, and PerfscopeError when a file cannot be written.
    """
    trace, diagnosis = load_and_diagnose(folder, options)
    error = write_files(trace, diagnosis, options)
    if options.prints_json:
        print_json(diagnosis)
    if error is not None:
        raise error
    for path in options.files:
        print_line(f"wrote {path}", sys.stderr if options.prints_json else sys.stdout)
    return 0


def load_and_diagnose(folder: Path, options: AnswerOptions) -> "tuple[Trace, Diagnosis]":
    """Return the trace of a run folder and its diagnosis."""
    from perfscope.analyzer.diagnose import diagnose_trace
    from perfscope.traces.load import load_trace

    trace = redact_if_wanted(load_trace(folder), options)
    diagnosis = diagnose_trace(
        trace, ignored=options.ignored, service_levels=options.service_levels
    )
    return trace, diagnosis


def print_json(diagnosis: "Diagnosis") -> None:
    """Print the diagnosis as JSON on stdout."""
    print(diagnosis_json(diagnosis))


def diagnosis_json(diagnosis: "Diagnosis") -> str:
    """Return the diagnosis as indented JSON."""
    return json_text(diagnosis, indent=2)


def write_diagnosis(diagnosis: "Diagnosis", path: Path) -> None:
    """Write the diagnosis as JSON. Raises PerfscopeError."""
    from perfscope.ui.output_file import write_output

    try:
        write_output(path, diagnosis_json(diagnosis) + "\n")
    except OSError as error:
        raise PerfscopeError(f"cannot write {path}: {error.strerror}; name another file") from None


def save(trace: "Trace", diagnosis: "Diagnosis", path: Path) -> None:
    """Write the HTML report. Raises PerfscopeError where the file cannot be written."""
    from perfscope.ui.html.report import write_report

    try:
        write_report(trace, diagnosis, path)
    except OSError as error:
        raise PerfscopeError(f"cannot write {path}: {error.strerror}; name another file") from None
