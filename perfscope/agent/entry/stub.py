"""The text that runs in the target: a constant frame around the given source, which travels as
hexadecimal digits (the interpreter reads those without importing anything).

Where target and agent are the same CPython (minor version, both final), the source is compiled here
and only unmarshalled there: compiling 200 KB holds the GIL, and so the training, for a tenth of a
second and more.
"""

import marshal
import sys

FINAL = 0xF0
COMPILE = "(lambda text: compile(text, '<perfscope>', 'exec', dont_inherit=True))"
FRAME = """\
import os
if os.getpid() == {pid}:
    import marshal
    exec({load}(bytes.fromhex({payload!r})), {{'__name__': '__perfscope__', '__builtins__': __builtins__}})
"""  # noqa: E501


def text(source: str, pid: int, target_version: int | None) -> bytes:
    """What PyRun_String is to run, UTF-8.

    pid: the target's own, as it sees it: a child forked with our call still in its queue must not
    run the source. target_version: PY_VERSION_HEX of the target; None when unknown. Raises
    SyntaxError when `source` is no Python.
    """
    load, payload = packed(source, target_version)
    return FRAME.format(pid=pid, load=load, payload=payload.hex()).encode()


def packed(source: str, target_version: int | None) -> tuple[str, bytes]:
    """(an expression for the function that makes code of the bytes, the bytes). Raises
    SyntaxError.
    """
    code = compile(source, "<perfscope>", "exec", dont_inherit=True)
    if same_bytecode(target_version):
        return "marshal.loads", marshal.dumps(code)
    return COMPILE, source.encode()


def same_bytecode(target_version: int | None) -> bool:
    """Bytecode is fixed within a minor version once it is final."""
    if target_version is None:
        return False
    final = target_version & FINAL == FINAL and sys.hexversion & FINAL == FINAL
    return (
        final
        and target_version >> 16 == sys.hexversion >> 16
        and sys.implementation.name == "cpython"
    )
