"""The rows of the list of runs, as plain data: what the grid shows, sorts and filters."""

import os
import time
from collections.abc import Mapping
from typing import Any

from perfscope.analyzer.diagnosis import BudgetEntry, Diagnosis
from perfscope.analyzer.number_text import digits, ms, percent
from perfscope.traces.folder_contents import Found
from perfscope.traces.jobs.rank_files import rank_in_name
from perfscope.traces.memory_snapshot import snapshot_command
from perfscope.traces.shown_text import shown_text
from perfscope.ui.budget_phrases import NS_PER_MS, category_label, largest_parts
from perfscope.ui.dashboard.verdicts import Judged
from perfscope.ui.phrases import bound_by_text, ordered_findings, predicted_speedup, short_headline
from perfscope.ui.theme import texture

Row = dict[str, Any]
WAITING = "diagnosing …"


def run_rows(runs: list[Found], known: Mapping[str, Judged]) -> list[Row]:
    """Return a row per run, the parts of each job after it."""
    parts: dict[str, list[Found]] = {}
    for run in runs:
        if run.job:
            parts.setdefault(run.job, []).append(run)
    rows = []
    for run in runs:
        if not run.job:
            judged = known.get(run.id)
            rows.append(run_row(run, judged) | {"parts": len(parts.get(run.id, []))})
            of_job = sorted(parts.get(run.id, []), key=part_order)
            rows += [part_row(part, judged) for part in of_job]
    return rows


def part_order(part: Found) -> tuple[int, str]:
    """Return a sort key that puts rank 2 before rank 10."""
    return rank_in_name(part.path) or 0, part.name


def plain_row(run: Found) -> Row:
    """Return what is known of a run without reading it."""
    return {
        "id": run.id,
        "job": run.job,
        "parts": 0,
        "name": run.name,
        "about": size_text(run),
        "changed": run.changed_s,
        "shown:changed": changed_text(run),
        "removable": may_be_removed(run),
        "opens": not run.is_snapshot,
        "mark": "",
        "verdict": "",
        "note": "",
        "bar": [],
        "step": None,
        "shown:step": "",
        "steps": "",
        "gain": None,
        "shown:gain": "",
    }


def run_row(run: Found, judged: Judged | None) -> Row:
    """Return the row of a run or of a job."""
    row = plain_row(run)
    if judged is None:
        return row | {"note": WAITING, "waiting": True}
    row["about"] = ", ".join([*judged.subject[:1], size_text(run)])
    if run.is_snapshot:
        note = shown_text(f"to view it, run: {snapshot_command(run.path)}")
        return row | {"verdict": "Memory snapshot of PyTorch, not read by perfscope", "note": note}
    if judged.diagnosis is None:
        note = shown_text((judged.error or "").replace("`", ""))
        return row | {"verdict": "Cannot be read", "note": note}
    return row | diagnosis_cells(judged.diagnosis) | {"mark": judged.color}


def diagnosis_cells(diagnosis: Diagnosis) -> Row:
    """Return the cells that show a diagnosis: verdict, budget, step, predicted speedup."""
    first = next(iter(ordered_findings(diagnosis)), None)
    speedup = first.speedup if first is not None else None
    likely = (speedup.likely or speedup.high) if speedup is not None else None
    mean_ms = diagnosis.steps.mean_ms
    return {
        "verdict": short_headline(diagnosis).replace("`", ""),
        "note": bound_by_note(diagnosis),
        "bar": bar_parts(diagnosis.time_budget),
        "step": mean_ms,
        "shown:step": ms(mean_ms * NS_PER_MS) if mean_ms is not None else "",
        "steps": steps_text(diagnosis),
        "gain": likely,
        "shown:gain": predicted_speedup(speedup, "×")[0] if speedup is not None else "",
    }


def bound_by_note(diagnosis: Diagnosis) -> str:
    """Return what the run is bound by, "" where that is not known."""
    is_known = diagnosis.bound_by.id != "unknown"
    return f"bound by {bound_by_text(diagnosis)}" if is_known else ""


def steps_text(diagnosis: Diagnosis) -> str:
    """Return how many steps were measured, or how long the recording is."""
    if diagnosis.steps.mean_ms is None:
        return f"{digits(diagnosis.span_s)} s recorded"
    return f"{diagnosis.steps.count} steps"


def part_row(part: Found, judged: Judged | None) -> Row:
    """Return the row of a part of a job: the time budget of its rank in the job."""
    row = plain_row(part) | {"name": shown_text(part.path.name)}
    rank = rank_in_name(part.path)
    if judged is None or judged.diagnosis is None or rank is None or part.run:
        return row
    budgets = [each for each in judged.diagnosis.per_process if each.rank == rank]
    if not budgets:
        return row
    is_judged = rank == judged.diagnosis.budget_rank
    return row | {
        "note": f"rank {rank}" + (", the rank of the verdict" if is_judged else ""),
        "bar": bar_parts(budgets[0].time_budget),
    }


def bar_parts(budget: list[BudgetEntry]) -> list[list[Any]]:
    """Return (category, share, texture, tooltip) of each part of a small bar."""
    return [
        [
            part.category,
            part.share,
            texture(part.category),
            f"{category_label(part.category)} {percent(part.share)}",
        ]
        for part in largest_parts(budget)
    ]


def may_be_removed(run: Found) -> bool:
    """Return whether a run folder belongs to the user of this process.

    Whether everything in it does is checked when it is deleted.
    """
    if not run.run or run.leads_out:
        return False
    try:
        return all(path.lstat().st_uid == os.geteuid() for path in run.paths)
    except OSError:
        return False


def changed_text(run: Found) -> str:
    """Return when a run last changed: `today 14:02`, or the date and time."""
    then = time.localtime(run.changed_s)
    is_today = time.strftime("%Y-%m-%d") == time.strftime("%Y-%m-%d", then)
    return time.strftime("today %H:%M" if is_today else "%Y-%m-%d %H:%M", then)


def size_text(run: Found) -> str:
    """Return the size of a run in MB."""
    return f"{digits(run.bytes / 1e6)} MB"
