"""The text that the target runs first: a few constant lines that run the given source.

The source is included as hexadecimal digits, which the interpreter reads without an import. If
target and agent are the same CPython (minor version, both final), the source is compiled by the
agent and only unmarshalled by the target: compiling 200 KB holds the GIL, and stops the training,
for a tenth of a second or more.
"""

import marshal
import sys
from types import CodeType

from perfscope.agent.delivery.probe_code import code_of_module, module_of

FINAL = 0xF0
COMPILE = "(lambda text: compile(text, '<perfscope>', 'exec', dont_inherit=True))"
BOOTSTRAP = """\
import os
if os.getpid() == {pid}:
    import marshal
    space = {{'__name__': '__perfscope__', '__builtins__': __builtins__}}
    exec({load}(bytes.fromhex({payload!r})), space)
"""


def bootstrap_text(source: str, pid: int, target_version: int | None) -> bytes:
    """Return the text for PyRun_String, in UTF-8.

    pid: the target as it sees itself. A child that was forked with our call in its queue must not
    run the source. target_version: PY_VERSION_HEX of the target, None if unknown. Raises
    SyntaxError if `source` is not Python.
    """
    load, payload = pack_source(source, target_version)
    return BOOTSTRAP.format(pid=pid, load=load, payload=payload.hex()).encode()


def pack_source(source: str, target_version: int | None) -> tuple[str, bytes]:
    """Return (expression for a function that makes code from the bytes, the bytes).

    Raises SyntaxError.
    """
    code = compile(source, "<perfscope>", "exec", dont_inherit=True)
    if has_same_bytecode(target_version):
        return "marshal.loads", marshal.dumps(with_compiled_modules(code))
    return COMPILE, source.encode()


def with_compiled_modules(code: CodeType) -> CodeType:
    """Return the code with compiled modules of the probe instead of (file name, source)."""
    return code.replace(co_consts=tuple(compiled_module(value) for value in code.co_consts))


def compiled_module(constant: object) -> object:
    """Return the code of a module for a constant (file name, source), else the constant."""
    match constant:
        case (str(file), str(_)) if module := module_of(file):
            return code_of_module(module)
    return constant


def has_same_bytecode(target_version: int | None) -> bool:
    """Return whether the target runs the agent's bytecode, fixed within a final minor version."""
    if target_version is None or sys.implementation.name != "cpython":
        return False
    both_final = target_version & FINAL == FINAL and sys.hexversion & FINAL == FINAL
    return both_final and target_version >> 16 == sys.hexversion >> 16
