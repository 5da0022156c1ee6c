"""The commands, one per file: a docstring (its help), `add_arguments(parser)`, and `run(args) ->
exit code`.

`ARGUMENTS` is the class of `args`: a frozen dataclass with a field per option, made from what
argparse parsed in `cli.arguments_of_command`.
"""

from perfscope.commands import analyze, attach, doctor, explain, export, ps, report, run, top, ui

COMMANDS = (attach, run, top, ps, doctor, analyze, ui, report, export, explain)
