"""Which frames of a stack are the program's own."""

from perfscope.traces.frames import Frame, parse_frame

MODULE = "<module>"
MODULE_RUNNER = "<frozen runpy>"
"""The file of the outermost frames of a program that `python -m` runs."""


def program_frames(stack: str) -> tuple[Frame, ...]:
    """Return the frames of the program's own code in a stack, outermost first.

    The file of the outermost frame always belongs to the program, although its name may not show
    it: code of `python -c` is in `<string>`, as code that packages generate, and `python -m` runs a
    file of a package.
    """
    frames = [parse_frame(label) for label in stack.split(";")]
    main_file = file_of_main_module(frames)
    return tuple(frame for frame in frames if frame.is_of_program or frame.file == main_file)


def file_of_main_module(frames: list[Frame]) -> str | None:
    """Return the file in which a stack begins, None where it does not begin in a module."""
    first = next((frame for frame in frames if frame.file != MODULE_RUNNER), frames[0])
    return first.file if first.function == MODULE else None
