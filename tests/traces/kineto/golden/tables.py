"""The expected tables of small.json.

`python -m tests.traces.kineto.golden.tables` renews them: review the difference.
"""

import json
from pathlib import Path
from typing import Any

from perfscope.traces.load import load_trace
from perfscope.traces.schema import TABLES
from tests.traces.kineto.golden.record import SMALL

GOLDEN = Path(__file__).with_name("tables.json")


def tables() -> dict[str, Any]:
    """Return the columns of every table, with the name of the file instead of its path."""
    trace = load_trace(SMALL)
    found = {}
    for name in TABLES:
        frame = trace.table(name)
        if frame is not None:
            columns = json.loads(frame.to_json(orient="split"))
            found[name] = {
                column: [row[at] for row in columns["data"]]
                for at, column in enumerate(columns["columns"])
            }
    found["ranks"]["source"] = [Path(source).name for source in found["ranks"]["source"]]
    return found


def main() -> None:
    lines = []
    for name, columns in tables().items():
        rows = ",\n".join(
            f"  {json.dumps(column)}: {json.dumps(values)}" for column, values in columns.items()
        )
        lines.append(f" {json.dumps(name)}: {{\n{rows}\n }}")
    GOLDEN.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
