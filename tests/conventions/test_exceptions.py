"""Broad `except` clauses: only in the guards around findings, recordings and injected code."""

import ast

from tests.conventions.sources import trees

BROAD = {"Exception", "BaseException"}
ALLOWED = {
    "perfscope/analyzer/check_findings.py",
    "perfscope/agent/collector_guard.py",
    "perfscope/agent/entry/sitecustomize_hook.py",
    "perfscope/agent/entry/torch_import_watch.py",
    "perfscope/agent/probe/guard.py",
    "perfscope/agent/probe/patches.py",
}
"""The sitecustomize hook and the torch import watch run when a command's Python processes start.
`probe/guard.py` runs in the target; `probe/patches.py` records what the program's call raises, and
raises it again.
"""


def names(node: ast.expr | None) -> set[str]:
    """Return what an `except` or `suppress` catches; a bare `except` catches BaseException."""
    if node is None:
        return {"BaseException"}
    return {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}


def catches_broadly(node: ast.AST) -> bool:
    if isinstance(node, ast.ExceptHandler):
        return bool(names(node.type) & BROAD)
    if isinstance(node, ast.Call) and ast.unparse(node.func) in ("suppress", "contextlib.suppress"):
        return any(names(argument) & BROAD for argument in node.args)
    return False


def test_broad_except_is_in_the_guards_only() -> None:
    broad = {
        name
        for name, tree in trees("perfscope").items()
        if any(map(catches_broadly, ast.walk(tree)))
    }
    assert broad == ALLOWED


def test_the_check_finds_every_way_to_catch_everything() -> None:
    ways = ("except:", "except Exception:", "except (OSError, BaseException) as error:")
    texts = [f"try: pass\n{way} pass" for way in ways] + [
        "with contextlib.suppress(Exception): pass"
    ]
    assert all(any(map(catches_broadly, ast.walk(ast.parse(text)))) for text in texts)
    assert not any(
        map(catches_broadly, ast.walk(ast.parse("try: pass\nexcept (OSError, ValueError): pass")))
    )
