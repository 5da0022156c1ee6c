"""The time budget after the verdict's change, as a shorter bar under the first."""

from perfscope.analyzer.diagnosis import BudgetEntry, Diagnosis, Finding
from perfscope.analyzer.number_text import ms, percent
from perfscope.analyzer.verdict.predicted_budget import PredictedBudget, predicted_budget
from perfscope.ui.budget_phrases import NS_PER_MS, category_label
from perfscope.ui.html.markup import escape
from perfscope.ui.html.rank_rows import small_bar_parts
from perfscope.ui.phrases import mean_step_ms, per_step, verdict_finding


def predicted_bar(diagnosis: Diagnosis) -> str:
    """Return the bar with the parts that change; nothing where no budget is predicted."""
    finding = verdict_finding(diagnosis)
    budget = None if finding is None else predicted_budget(diagnosis, finding)
    if finding is None or budget is None:
        return ""
    parts = small_bar_parts(
        [BudgetEntry(name, 0.0, share / budget.rest) for name, share in budget.after.items()]
    )
    return (
        f'<p class="note run">{escape(change_text(budget, finding, diagnosis))}</p>'
        f'<div class="bar small after" style="width:{100 * budget.rest:.2f}%">{parts}</div>'
    )


def change_text(budget: PredictedBudget, finding: Finding, diagnosis: Diagnosis) -> str:
    """Return `After the change, likely: 40 ms/step on average (input wait -24 ms, compute -47 ms)`.

    Where the saving is not what the finding costs now, the reason follows.
    """
    mean_ms = mean_step_ms(diagnosis)

    def amount(share: float) -> str:
        return percent(share) if mean_ms is None else ms(share * mean_ms * NS_PER_MS)

    changes = ", ".join(
        f"{category_label(category)} \N{MINUS SIGN}{amount(share)}"
        for category, share in budget.changes.items()
    )
    whole = (
        f"{percent(budget.rest)} of the time"
        if mean_ms is None
        else f"{amount(budget.rest)}{per_step(diagnosis)} on average"
    )
    more, reason = budget.saved_beyond(finding), ""
    if more is not None and budget.is_bound:
        lost = amount(finding.share)
        reason = f" The measured loss is {lost}; what is saved beyond it is an upper bound."
    elif more is not None:
        reason = f" {amount(more)} of it is saved because the rest also becomes faster."
    how = "at best" if budget.is_bound else "likely"
    return f"After the change, {how}: {whole} ({changes}).{reason}"
