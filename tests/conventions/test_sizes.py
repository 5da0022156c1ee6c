"""Sizes of files and functions."""

import statistics

from tests.conventions.sources import FOLDERS, functions, line_count, python_files

FILE_LIMIT, FILE_MEDIAN = 500, 150
FUNCTION_LIMIT, FUNCTION_P90, FUNCTION_MEDIAN = 150, 50, 15


def test_no_file_is_longer_than_the_limit() -> None:
    long = {
        name: text.count("\n")
        for name, text in python_files(*FOLDERS).items()
        if text.count("\n") > FILE_LIMIT
    }
    assert long == {}


def test_half_of_the_files_are_short() -> None:
    assert (
        statistics.median(text.count("\n") for text in python_files("perfscope").values() if text)
        <= FILE_MEDIAN
    )


def test_no_function_is_longer_than_the_limit() -> None:
    assert {
        name: size
        for name, node in functions(*FOLDERS)
        if (size := line_count(node)) > FUNCTION_LIMIT
    } == {}


def test_most_functions_are_short() -> None:
    sizes = [line_count(node) for _, node in functions("perfscope")]
    assert statistics.median(sizes) <= FUNCTION_MEDIAN
    assert statistics.quantiles(sizes, n=10)[-1] <= FUNCTION_P90
