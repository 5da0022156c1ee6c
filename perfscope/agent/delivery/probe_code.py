"""The compiled modules of the probe, from the interpreter's cache where it has them."""

from importlib.abc import InspectLoader
from importlib.util import find_spec
from types import CodeType

PACKAGE = "perfscope.agent.probe"
FILE_PREFIX, FILE_SUFFIX = "<perfscope ", ">"


def file_of(module: str) -> str:
    """Return the file name by which the frames of a module of the probe are recognized."""
    return f"{FILE_PREFIX}{module}{FILE_SUFFIX}"


def module_of(file: str) -> str | None:
    """Return the module of the probe with this file name, None for other files."""
    if not file.startswith(FILE_PREFIX):
        return None
    return file.removeprefix(FILE_PREFIX).removesuffix(FILE_SUFFIX)


def code_of_module(module: str) -> CodeType:
    """Return the code of a module of the probe, with `file_of(module)` as its file.

    It is compiled only where the interpreter's cache does not have it. Raises ImportError.
    """
    name = f"{PACKAGE}.{module}"
    spec = find_spec(name)
    loader = None if spec is None else spec.loader
    code = loader.get_code(name) if isinstance(loader, InspectLoader) else None
    if code is None:
        raise ImportError(f"{name} has no code")
    return with_file(code, file_of(module))


def with_file(code: CodeType, file: str) -> CodeType:
    """Return the code, and all code inside it, with another file name."""
    constants = tuple(
        with_file(value, file) if isinstance(value, CodeType) else value for value in code.co_consts
    )
    return code.replace(co_filename=file, co_consts=constants)
