"""Generator of the pages that come from the code: `python -m docs.generate`.

A test fails when they are out of date.
"""

from pathlib import Path
from types import ModuleType

import msgspec

from perfscope.analyzer.diagnosis import Diagnosis
from perfscope.analyzer.explain import cause_documentation
from perfscope.analyzer.findings import FINDINGS
from perfscope.analyzer.input.causes import CAUSES
from perfscope.cli import name_of
from perfscope.commands import COMMANDS
from perfscope.traces.device_counters import COUNTERS
from perfscope.traces.schema import TABLES

FOLDER = Path(__file__).parent
EXIT_CODES = (
    "Exit codes: 0 done, whatever the verdict; 1 failed (`doctor`: a check failed); 2 bad usage\n"
    "or unreadable input; 3 and 4 are reserved. `run` exits with the code of its command. A\n"
    "recording that Ctrl-C ends prints its report and exits with 0, or with 130 when nothing was\n"
    "printed."
)
KINDS_OF_COUNTERS = (
    "A `total` grows from the time the driver was loaded, a `state` is the value at `ts`, a\n"
    "`mean` covers the interval that ends at `ts`."
)


def findings() -> str:
    """Return the page of all findings, with the text that `perfscope explain` prints."""
    parts = [
        "# Findings\n\nWhat perfscope checks. `perfscope explain ID` prints the same text.\n",
    ]
    for rule in FINDINGS:
        parts.append(f"## {rule.id}\n\n{sections(rule.documentation)}\n")
    for cause in CAUSES:
        text = sections(cause_documentation(cause))
        parts.append(f"## input-bound/{cause.CAUSE}\n\n{text}\n")
    return "\n".join(parts).rstrip() + "\n"


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
    """Return a docstring as Markdown, its headings in bold.

    A heading is a line without indent above an indented text.
    """
    source = text.splitlines()
    lines = []
    for line, following in zip(source, [*source[1:], ""], strict=True):
        heading = line and not line.startswith(" ") and following.startswith("    ")
        lines.append(f"**{line}**\n" if heading else line.strip())
    return "\n".join(lines)


def tables() -> str:
    """Return the page of all tables of a trace and their columns."""
    parts = [
        "# Tables of a trace\n",
        "A table is complete, or absent with a reason. `ts` and `dur` are nanoseconds from the",
        "time zero of the job. A missing number is -1, a missing float NaN, a missing name NA.\n",
    ]
    for name, columns in TABLES.items():
        parts += [f"## {name}\n", "| column | dtype | unit | content |", "|---|---|---|---|"]
        for column in columns:
            parts.append(f"| {column.name} | {column.dtype} | {column.unit} | {column.comment} |")
        parts.append("")
    parts += [
        "## Names of device_counters\n",
        "| name | unit | kind | meaning |",
        "|---|---|---|---|",
    ]
    for counter in COUNTERS:
        parts.append(f"| {counter.name} | {counter.unit} | {counter.kind} | {counter.comment} |")
    parts.append(f"\n{KINDS_OF_COUNTERS}\n")
    return "\n".join(parts)


def commands() -> str:
    """Return the page of all commands."""
    parts = [
        "# Commands\n",
        "`perfscope COMMAND --help` lists the options.\n",
        "| command | purpose |",
        "|---|---|",
    ]
    for command in COMMANDS:
        parts.append(f"| `{name_of(command)}` | {first_paragraph(command)} |")
    parts.append(f"\n{EXIT_CODES}")
    return "\n".join(parts) + "\n"


def first_paragraph(command: ModuleType) -> str:
    """Return the first paragraph of a command's help, as a single line."""
    paragraph = (command.__doc__ or "").split("\n\n")[0]
    return " ".join(paragraph.split())


def schema() -> str:
    """Return the JSON Schema of `--json`."""
    document = msgspec.json.schema(Diagnosis)
    for definition in document["$defs"].values():
        if "description" in definition:
            # A docstring, indented as in the source by Python versions before 3.13.
            definition["description"] = " ".join(definition["description"].split())
    encoded = msgspec.json.encode(document)
    return msgspec.json.format(encoded, indent=2).decode() + "\n"


PAGES = {
    "findings.md": findings,
    "actions.md": actions,
    "tables.md": tables,
    "commands.md": commands,
    "diagnosis.schema.json": schema,
}

if __name__ == "__main__":
    for name, page in PAGES.items():
        (FOLDER / name).write_text(page(), "utf-8")
        print(f"wrote docs/{name}")
