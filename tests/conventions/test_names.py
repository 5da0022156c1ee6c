"""Names of modules and classes, and a docstring in every module."""

import ast
import re

from tests.conventions.sources import FOLDERS, python_files, trees

EMPTY_WORDS = {
    "utils",
    "util",
    "helpers",
    "helper",
    "common",
    "manager",
    "misc",
    "base",
    "stuff",
    "lib",
}


def test_no_module_or_folder_has_an_empty_name() -> None:
    words = {name: set(re.split(r"[/_.]", name)) & EMPTY_WORDS for name in python_files(*FOLDERS)}
    assert {name for name, empty in words.items() if empty} == set()


def test_no_class_is_a_base_or_a_manager() -> None:
    named = {
        f"{name}:{node.name}"
        for name, tree in trees("perfscope").items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
        and (re.match(r"_?Base[A-Z]", node.name) or node.name.endswith("Manager"))
    }
    assert named == set()


def test_every_module_has_a_docstring() -> None:
    assert [
        name for name, tree in trees(*FOLDERS).items() if tree.body and not ast.get_docstring(tree)
    ] == []
