"""The lines of two samplers: folded alike, and compared."""

from typing import Any

from benchmarks.public_programs.line_shares import (
    Line,
    SampledLines,
    compare,
    lines_of_answer,
    lines_of_py_spy,
)

FOLDER = "/home/me/project"
LOADER = "__next__ (/venv/lib/python3.11/site-packages/torch/utils/data/dataloader.py:700)"
MAIN = (
    f"<module> ({FOLDER}/train.py:90);wrapper (<perfscope patches>:138);main ({FOLDER}/train.py:80)"
)
RAW = f"""\
{MAIN};{LOADER};__getitem__ ({FOLDER}/data.py:12);open (/usr/lib/python3.11/tempfile.py:5) 60
{MAIN};{LOADER} 30
{MAIN};step ({FOLDER}/train.py:40);backward (/venv/lib/python3.11/site-packages/torch/a.py:1) 108
{MAIN};log ({FOLDER}/train.py:50) 1
<frozen runpy>:86 (<frozen runpy>:86) 1
Thread._bootstrap (/usr/lib/python3.11/threading.py:1002);run ({FOLDER}/train.py:30) 200
<module> (<string>:5);<module> (<perfscope>:19);run (<perfscope>:15) 300
call (<perfscope guard>:45);record (<perfscope kernels>:270) 40
"""


def call(line: int, own_s: float, share: float, children: list[Any] | None = None) -> Any:
    return {
        "file": "train.py",
        "line": line,
        "self_s": own_s,
        "share": {"low": share - 0.05, "likely": share, "high": share + 0.05},
        "children": children or [],
    }


def test_frames_of_packages_belong_to_the_line_that_calls_them() -> None:
    lines = lines_of_py_spy(RAW, FOLDER)
    assert lines.samples == 200
    assert lines.shares[Line("data.py", 12)] == 60 / 200
    assert lines.shares[Line("train.py", 40)] == 108 / 200


def test_calls_that_are_small_belong_to_their_caller() -> None:
    shares = lines_of_py_spy(RAW.replace(" 1\n", " 0\n", 1), FOLDER).shares
    assert Line("train.py", 50) not in shares
    assert shares[Line("train.py", 80)] == 30 / 199


def test_other_threads_are_left_out() -> None:
    assert Line("train.py", 30) not in lines_of_py_spy(RAW, FOLDER).shares


def test_shares_of_all_lines_sum_to_one() -> None:
    assert abs(sum(lines_of_py_spy(RAW, FOLDER).shares.values()) - 1.0) < 1e-9


def test_code_on_the_command_line_is_the_programs_own() -> None:
    raw = "<module> (<string>:3);__init__ (<string>:9) 4\nmain (/a/train.py:2);f (<string>:9) 4\n"
    shares = lines_of_py_spy(raw, "/a").shares
    assert shares == {Line("<string>", 9): 0.5, Line("<string>", 3): 0.0, Line("train.py", 2): 0.5}


def test_a_module_of_a_package_that_python_runs_is_the_programs_own() -> None:
    package = "/venv/lib/python3.11/site-packages/trl"
    run = "_run_code (<frozen runpy>:88)"
    raw = f"{run};<module> ({package}/scripts/sft.py:9);train ({package}/a.py:1) 4\n"
    assert lines_of_py_spy(raw, "/a").shares == {Line("trl/scripts/sft.py", 9): 1.0}


def test_the_same_line_in_several_phases_is_one_line() -> None:
    answer = {"by_code": [call(80, 1.0, 0.7, [call(40, 6.0, 0.6)]), call(40, 3.0, 0.3)]}
    lines = lines_of_answer(answer)
    assert lines.shares == {Line("train.py", 80): 0.1, Line("train.py", 40): 0.9}


def test_the_largest_difference_and_what_chance_explains_of_it() -> None:
    first, second, third = Line("a.py", 1), Line("a.py", 2), Line("a.py", 3)
    one = SampledLines({first: 0.6, second: 0.4}, 400)
    other = SampledLines({first: 0.5, second: 0.4, third: 0.1}, 400)
    agreement = compare(one, other)
    assert round(agreement.largest_points, 6) == 10.0
    assert agreement.at in (first, third)
    assert agreement.first_in_words == "yes"
    assert round(agreement.sum_points, 6) == 10.0
    assert round(compare(one, SampledLines({second: 1.0}, 400)).by_chance_points, 1) == 6.4


def test_first_lines_that_differ() -> None:
    one = SampledLines({Line("a.py", 1): 1.0}, 100)
    other = SampledLines({Line("a.py", 2): 1.0}, 100)
    agreement = compare(one, other)
    assert agreement.first == (Line("a.py", 1), Line("a.py", 2))
    assert agreement.first_in_words == "no"


def test_lines_with_about_equal_shares_are_first_by_chance() -> None:
    one = SampledLines({Line("a.py", 1): 0.51, Line("a.py", 2): 0.49}, 100)
    other = SampledLines({Line("a.py", 1): 0.48, Line("a.py", 2): 0.52}, 100)
    assert compare(one, other).first_in_words == "within chance"
