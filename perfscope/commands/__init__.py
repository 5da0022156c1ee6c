"""The doors, one command a file: a docstring (= its help), `add_arguments(parser)`, `run(args) -> exit code`."""

from perfscope.commands import analyze, attach, doctor, explain, export, ps, report, run, top, ui

COMMANDS = (attach, run, top, ps, doctor, analyze, ui, report, export, explain)
