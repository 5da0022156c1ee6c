"""The text of the lines that an answer names, where it was recorded."""

from typing import Any, TypeVar

import msgspec

from perfscope.analyzer.diagnosis import CodeCost, CodeLocation
from perfscope.analyzer.run.table_access import column, table
from perfscope.traces.trace import Trace

Answer = TypeVar("Answer", bound=msgspec.Struct)
Texts = dict[tuple[int, str, int], str]
ANY_PROCESS = -1


def source_texts(trace: Trace) -> Texts:
    """Return the text of each recorded line by process, file and number.

    With ANY_PROCESS it is that of the first process: others usually run the same files.
    """
    rows = table(trace, "source_lines")
    if rows is None:
        return {}
    files = [str(file).removeprefix("./") for file in rows["file"]]
    texts: Texts = {}
    keys = zip(column(rows, "process").tolist(), files, column(rows, "line").tolist(), strict=True)
    for (process, file, line), text in zip(keys, rows["text"].astype(str), strict=True):
        if text:
            texts[process, file, line] = text
            texts.setdefault((ANY_PROCESS, file, line), text)
    return texts


def with_source_texts(answer: Answer, trace: Trace) -> Answer:
    """Return an answer in which every line of code has its text, where that was recorded."""
    texts = trace.fact(source_texts)
    if not texts:
        return answer
    filled: Answer = with_texts(answer, texts)
    return filled


def with_texts(value: Any, texts: Texts) -> Any:
    """Return a value of an answer with the text of each line of code in it."""
    if isinstance(value, list):
        filled = [with_texts(member, texts) for member in value]
        is_same = all(new is old for new, old in zip(filled, value, strict=True))
        return value if is_same else filled
    if not isinstance(value, msgspec.Struct):
        return value
    changed = {
        name: filled
        for name in value.__struct_fields__
        if (filled := with_texts(member := getattr(value, name), texts)) is not member
    }
    if isinstance(value, CodeLocation | CodeCost):
        changed["text"] = text_of_line(value, texts)
    return msgspec.structs.replace(value, **changed) if changed else value


def text_of_line(place: CodeLocation | CodeCost, texts: Texts) -> str | None:
    """Return the text of a line, None where it was not recorded."""
    file = place.file.removeprefix("./")
    default = texts.get((ANY_PROCESS, file, place.line))
    return texts.get((place.process, file, place.line), default)
