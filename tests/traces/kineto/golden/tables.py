"""The tables of small.json as they should be. `python -m tests.traces.kineto.golden.tables` renews
them: read the difference.
"""

import json
from pathlib import Path
from typing import Any

from perfscope.traces.load import load_trace
from perfscope.traces.schema import TABLES
from tests.traces.kineto.golden.record import SMALL

GOLDEN = Path(__file__).with_name("tables.json")


def tables() -> dict[str, Any]:
    """Every table by columns; the path of the file by its name alone."""
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
    found["ranks"]["source"] = [Path(one).name for one in found["ranks"]["source"]]
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
