"""The compiled modules of the probe, and the bundle that the target runs."""

import marshal
import sys
from types import CodeType

from perfscope.agent.delivery.peer_credentials import AgentAddress
from perfscope.agent.delivery.probe_bundle import NAMES, bundle, probe_sources
from perfscope.agent.delivery.probe_code import code_of_module, file_of, module_of
from perfscope.agent.entry.injected_source import pack_source
from perfscope.agent.profiler_windows.window import Window

ADDRESS = AgentAddress("perfscope-test", "token", {})


def all_code(code: CodeType) -> list[CodeType]:
    """Return a code object and all inside it."""
    inner = [value for value in code.co_consts if isinstance(value, CodeType)]
    return [code, *(found for value in inner for found in all_code(value))]


def test_all_code_of_a_module_has_the_file_by_which_its_frames_are_recognized() -> None:
    for name in NAMES:
        assert {code.co_filename for code in all_code(code_of_module(name))} == {file_of(name)}


def test_only_files_of_the_probe_name_a_module() -> None:
    assert module_of(file_of("core")) == "core"
    assert module_of("/srv/train.py") is None


def test_the_same_interpreter_gets_the_modules_compiled() -> None:
    load, packed = pack_source(bundle(ADDRESS, Window()), sys.hexversion)
    assert load == "marshal.loads"
    code = marshal.loads(packed)
    files = {value.co_filename for value in code.co_consts if isinstance(value, CodeType)}
    assert {file_of(name) for name in NAMES} <= files
    sources = set(probe_sources().values())
    assert not any(isinstance(value, tuple) and sources & {*value} for value in code.co_consts)


def test_another_interpreter_gets_the_sources() -> None:
    load, packed = pack_source(bundle(ADDRESS, Window()), sys.hexversion + (1 << 16))
    assert load != "marshal.loads"
    assert all(repr(text) in packed.decode() for text in probe_sources().values())
