"""The ``flowkernel`` command.

Starting must be quick, so this module knows only names and one-line descriptions; a command's own module is imported when the
command is used. Such a module has ``main(arguments) -> int``, which parses what follows the command's name.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Callable, Sequence
from typing import NamedTuple

import flowkernel
from flowkernel.model.errors import FlowkernelError

__all__ = ["COMMANDS", "Command", "main"]


class Command(NamedTuple):
    """One word after ``flowkernel``: its name, the module that knows it, and what it does."""

    name: str
    module: str
    summary: str


COMMANDS = (
    Command("run", "flowkernel.cli.run", "run a notebook from top to bottom, wait for its workflows, report"),
    Command("list", "flowkernel.cli.listing", "list the executions in a database"),
    Command("show", "flowkernel.cli.show", "show an execution's timeline, and why it waits"),
    Command("history", "flowkernel.cli.history", "print an execution's events, as a table or as JSON"),
    Command("bench", "flowkernel.cli.bench", "measure speed on this machine, print JSON"),
)

_EPILOG = """\
examples:
  flowkernel run report.ipynb                     run it; the result is saved as report.out.ipynb
  flowkernel list report.ipynb                    what did it start, and how did that end?
  flowkernel show .flowkernel/report.duckdb ID    the timeline of one execution

`flowkernel COMMAND --help` explains one command. A database belongs to one process at a time: while a notebook is open,
use %workflow list, show and history inside it.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: what follows ``flowkernel``; None takes it from ``sys.argv``.
    Returns:
        The exit code: 0 for success, 1 if something failed, 2 for wrong usage (raised as ``SystemExit``), 128 + n if signal n
        ended a run.
    """
    parser = argparse.ArgumentParser(
        prog="flowkernel",
        description="Durable workflows for notebooks and plain Python.\n\ncommands:\n"
        + "\n".join(f"  {command.name:<10}{command.summary}" for command in COMMANDS),
        epilog=_EPILOG,
        usage="flowkernel [-h] [--version] COMMAND ...",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"flowkernel {flowkernel.__version__}")
    parser.add_argument("command", choices=[command.name for command in COMMANDS], metavar="COMMAND", help=argparse.SUPPRESS)
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    chosen = parser.parse_args(arguments)
    command = next(command for command in COMMANDS if command.name == chosen.command)
    run: Callable[[Sequence[str]], int] = importlib.import_module(command.module).main
    try:
        return run(chosen.arguments)
    except FlowkernelError as error:
        print(f"flowkernel {command.name}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Whoever read us (`| head`) has enough. Python would complain once more as it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
