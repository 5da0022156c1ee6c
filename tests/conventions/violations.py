"""Each convention that a program can check, as a function that yields what violates it."""

import ast
import io
import re
import tokenize
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from docs.generate import PAGES
from tests.conventions.banned_words import BANNED, BANNED_NAMES
from tests.conventions.sources import FOLDERS, ROOT, functions, kept_files, python_files, trees

COLUMNS = 100
POSITIONAL_PARAMETERS = 5
WORDED_SOURCES = {".c", ".css", ".h", ".html", ".js", ".md", ".s", ".yaml", ".yml"}
MEASURED_SOURCES = WORDED_SOURCES | {".py", ".pyi", ".toml", ""}  # "": Makefile and scripts
EXEMPT_FROM_WORDS = {"docs/glossary.md", "tests/conventions/banned_words.py"}
GENERATED = {f"docs/{name}" for name in PAGES}
VENDORED = "/vendored/"
CODE_SOURCES = {".c", ".css", ".h", ".js", ".s"}
COMMENT_OR_STRING = re.compile(
    r"/\*.*?\*/|//[^\n]*|\"(?:[^\"\\\n]|\\.)*\"|'(?:[^'\\\n]|\\.)*'|`(?:[^`\\]|\\.)*`", re.DOTALL
)

PROTOCOL_FUNCTIONS = frozenset(
    {
        "add_arguments",
        "run",  # a command
        "sniff",
        "read",  # a reader
        "write",  # a writer
        "not_applicable",
        "layout",
        "register",  # a page of the dashboard
        "detect",  # a finding
        "applies",
        "predicted_fix",  # a cause of input-bound
        "install",
        "prepare_cost_trials",  # a part of the probe
        "start",
        "poll",
        "stop",  # a collector
        "main",  # a script
    }
)
"""Functions that the code calls by name on every module of a list."""

NOT_VERBS = frozenset(
    {"A", "All", "An", "Every", "How", "Its", "One", "Over", "The", "Their", "True", "What"}
    | {"When", "Where", "Whether", "Which", "Why"}
)
CHECK_FILES = {"benchmarks/gpu_check/checks.py"}
SAME_CLASS = frozenset({"PerfscopeCallback"})
"""Public names that mean the same in each library that perfscope extends."""


@dataclass(frozen=True, order=True)
class Violation:
    """A place in the repository that violates a convention."""

    path: str
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.text}"


def banned_in(path: str, first_line: int, text: str) -> Iterator[Violation]:
    """Yield every banned word of one text."""
    for banned in BANNED:
        for match in banned.compiled.finditer(text):
            line = first_line + text.count("\n", 0, match.start())
            words = " ".join(match[0].split())
            yield Violation(path, line, f"'{words}': write {banned.instead}")


def other_texts(suffixes: set[str]) -> Iterator[tuple[str, str]]:
    """Yield path and content of each kept file with one of these suffixes."""
    for path in kept_files():
        name = str(path.relative_to(ROOT))
        if path.suffix in suffixes and name not in GENERATED and VENDORED not in name:
            yield name, path.read_text("utf-8")


def documentation_of(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield line and text of every docstring, and the words of the name of every test."""
    documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            yield node.lineno, node.name.replace("_", " ")
        if isinstance(node, documented) and ast.get_docstring(node):
            yield node.body[0].lineno, ast.get_docstring(node, clean=False) or ""


def strings_of(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield line and value of every string of several words, docstrings included."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            several_words = re.search(r"\s", node.value.strip())
            if several_words:
                yield node.lineno, node.value


def comments_of(source: str) -> Iterator[tuple[int, str]]:
    """Yield line and text of every comment."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string


def banned_words() -> Iterator[Violation]:
    """Yield banned words in documentation, user-facing strings, docstrings and comments."""
    sources = python_files(*FOLDERS)
    for path, tree in trees(*FOLDERS).items():
        if path in EXEMPT_FROM_WORDS:
            continue
        # In tests, strings other than docstrings are data.
        texts = documentation_of(tree) if path.startswith("tests/") else strings_of(tree)
        for line, text in (*texts, *comments_of(sources[path])):
            yield from banned_in(path, line, text)
    for path, text in other_texts(WORDED_SOURCES):
        if path in EXEMPT_FROM_WORDS:
            continue
        if Path(path).suffix in CODE_SOURCES:
            for match in COMMENT_OR_STRING.finditer(text):
                yield from banned_in(path, 1 + text.count("\n", 0, match.start()), match[0])
        else:
            yield from banned_in(path, 1, text)


def banned_names() -> Iterator[Violation]:
    """Yield variables, parameters and functions with a name that says nothing."""
    for path, tree in trees(*FOLDERS).items():
        for node in ast.walk(tree):
            name = ""
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                name = node.id
            elif isinstance(node, ast.arg):
                name = node.arg
            elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                name = node.name
            if name in BANNED_NAMES:
                line = getattr(node, "lineno", 0)
                yield Violation(path, line, f"'{name}' does not name a thing")


def long_lines() -> Iterator[Violation]:
    """Yield lines of more than 100 columns; rows of a Markdown table and long words are exempt."""
    for path, text in other_texts(MEASURED_SOURCES):
        for number, line in enumerate(text.splitlines(), start=1):
            row = path.endswith(".md") and line.lstrip().startswith("|")
            if len(line) > COLUMNS and not row and " " in line.strip():
                yield Violation(path, number, f"{len(line)} columns")


def many_parameters() -> Iterator[Violation]:
    """Yield functions with more than five positional parameters; pytest fills those of tests."""
    for where, node in functions(*FOLDERS):
        path = where.partition(":")[0]
        parameters = [
            argument.arg
            for argument in (*node.args.posonlyargs, *node.args.args)
            if argument.arg not in ("self", "cls")
        ]
        if len(parameters) > POSITIONAL_PARAMETERS and not node.name.startswith("test_"):
            text = f"{node.name}: {len(parameters)} positional parameters"
            yield Violation(path, node.lineno, text)


def docstrings_without_verb() -> Iterator[Violation]:
    """Yield functions whose docstring does not say what they do or return.

    Properties are exempt, and so are checks that are named by what must hold.
    """
    for path, tree in trees("perfscope", "benchmarks", "sample_workloads", "docs").items():
        for node in ast.walk(tree):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or path in CHECK_FILES:
                continue
            first_word = (ast.get_docstring(node) or "").partition(" ")[0]
            is_property = any("property" in ast.unparse(used) for used in node.decorator_list)
            if first_word in NOT_VERBS and not is_property:
                yield Violation(path, node.lineno, f"{node.name}: begin with a verb")


def repeated(kinds: tuple[type[ast.stmt], ...], exempt: frozenset[str]) -> Iterator[Violation]:
    """Yield top-level definitions of the package whose name another module defines too."""
    places: dict[str, list[tuple[str, int]]] = defaultdict(list)
    for path, tree in trees("perfscope").items():
        for node in tree.body:
            if isinstance(node, kinds):
                places[getattr(node, "name", "")].append((path, node.lineno))
    for name, found in places.items():
        if len({path for path, _ in found}) > 1 and name not in exempt:
            for path, line in found:
                others = sorted({other for other, _ in found} - {path})
                yield Violation(path, line, f"'{name}' is defined in {', '.join(others)} too")


def repeated_classes() -> Iterator[Violation]:
    """Yield classes whose name another module uses too."""
    yield from repeated((ast.ClassDef,), SAME_CLASS)


def repeated_functions() -> Iterator[Violation]:
    """Yield top-level functions whose name another module uses too."""
    kinds: tuple[type[ast.stmt], ...] = (ast.FunctionDef, ast.AsyncFunctionDef)
    yield from repeated(kinds, PROTOCOL_FUNCTIONS)


CHECKS: dict[str, Callable[[], Iterator[Violation]]] = {
    "banned words": banned_words,
    "banned names": banned_names,
    "long lines": long_lines,
    "many parameters": many_parameters,
    "docstrings without verb": docstrings_without_verb,
    "repeated classes": repeated_classes,
    "repeated functions": repeated_functions,
}
