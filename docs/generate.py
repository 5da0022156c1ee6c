"""Writes the pages that come from the code: `python -m docs.generate`. A test fails when they are
out of date.
"""

import inspect
from pathlib import Path

import msgspec

from perfscope.analyzer.diagnosis import Diagnosis
from perfscope.analyzer.findings import FINDINGS
from perfscope.analyzer.input.causes import CAUSES
from perfscope.cli import name_of
from perfscope.commands import COMMANDS
from perfscope.traces.device_counters import COUNTERS
from perfscope.traces.schema import TABLES

FOLDER = Path(__file__).parent


def findings() -> str:
    """Every finding as `perfscope explain` tells it."""
    parts = [
        "# Findings\n\nWhat perfscope looks for. `perfscope explain ID` prints the same text.\n"
    ]
    for rule in FINDINGS:
        parts.append(f"## {rule.id}\n\n{sections(rule.documentation)}\n")
    parts.append("## Causes of input-bound\n")
    parts += [
        f"- **{cause.CAUSE}**: {' '.join(inspect.cleandoc(cause.__doc__ or '').split())}"
        for cause in CAUSES
    ]
    return "\n".join(parts) + "\n"


def actions() -> str:
    """Return the table of the actions that findings recommend, with their preconditions."""
    parts = [
        "# Actions\n",
        "What the findings recommend. An action is given only where its precondition holds in the"
        " recording;\nthe texts in a diagnosis carry the numbers of the run.\n",
        "| id | finding | text | precondition | holds when |",
        "|---|---|---|---|---|",
    ]
    for rule in FINDINGS:
        parts += [
            f"| `{advice.id}` | {rule.id} | {advice.text} | `{advice.precondition}`"
            f" | {advice.holds_when} |"
            for advice in rule.advice
        ]
    return "\n".join(parts) + "\n"


def sections(text: str) -> str:
    """A docstring's headings (a line without indent over an indented text) as bold lines of
    Markdown.
    """
    lines = []
    for line in text.splitlines():
        indented = line.startswith("    ")
        heading = line and not indented and not line.rstrip().endswith((".", ","))
        lines.append(f"**{line}**\n" if heading else line.strip())
    return "\n".join(lines)


def tables() -> str:
    """Every table of a Trace."""
    parts = ["# Tables of a Trace\n"]
    parts.append(
        "A table is present whole, or absent with a reason. `ts` and `dur` are nanoseconds from the"
        " job's time zero;"
    )
    parts.append("a missing number is -1, a missing float NaN, a missing name NA.\n")
    for name, columns in TABLES.items():
        parts += [f"## {name}\n", "| column | dtype | unit | what it holds |", "|---|---|---|---|"]
        parts += [f"| {one.name} | {one.dtype} | {one.unit} | {one.comment} |" for one in columns]
        parts.append("")
    parts += [
        "## Names of device_counters\n",
        "| name | unit | kind | what it says |",
        "|---|---|---|---|",
    ]
    parts += [f"| {one.name} | {one.unit} | {one.kind} | {one.comment} |" for one in COUNTERS]
    parts.append(
        "\nA `total` grows from the driver's load on, a `state` is as it stands at `ts`, a `mean`"
        " is over the interval that ends there.\n"
    )
    return "\n".join(parts)


def commands() -> str:
    """Every command and what it is for."""
    parts = [
        "# Commands\n",
        "`perfscope COMMAND --help` lists the options.\n",
        "| command | what it does |",
        "|---|---|",
    ]
    parts += [
        f"| `{name_of(one)}` | {' '.join((one.__doc__ or '').split(chr(10) * 2)[0].split())} |"
        for one in COMMANDS
    ]
    parts.append(
        "\nExit codes: 0 done, 1 failed, 2 bad usage or unreadable input, 3 a gate was exceeded."
    )
    return "\n".join(parts) + "\n"


def schema() -> str:
    """The JSON Schema of `--json`."""
    whole = msgspec.json.schema(Diagnosis)
    for part in whole["$defs"].values():
        if (
            "description" in part
        ):  # a docstring, which Python indents as it stands in the source, until 3.13
            part["description"] = " ".join(part["description"].split())
    return msgspec.json.format(msgspec.json.encode(whole), indent=2).decode() + "\n"


PAGES = {
    "findings.md": findings,
    "actions.md": actions,
    "tables.md": tables,
    "commands.md": commands,
    "diagnosis.schema.json": schema,
}

if __name__ == "__main__":
    for name, write in PAGES.items():
        (FOLDER / name).write_text(write(), "utf-8")
        print(f"wrote docs/{name}")
