"""The subcommands of ``%workflow``, in one table: name, what it is for, its options, what it does."""

from __future__ import annotations

import json
import time
from argparse import Namespace
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from flowkernel.model import codec
from flowkernel.model.events import Event
from flowkernel.model.policies import WorkflowExecutionStatus
from flowkernel.model.requests import DescribeWorkflowExecutionResponse
from flowkernel.notebook.cell_options import cell_parser
from flowkernel.notebook.errors import CommandError, UsageError, nearest
from flowkernel.notebook.options import CommandParser, HelpShown, evaluate, parse_duration
from flowkernel.timeline import Table, executions_table, history_table

__all__ = ["COMMANDS", "Command", "CommandContext", "run_command"]


class _Handle(Protocol):
    @property
    def id(self) -> str: ...
    def wait(self, timeout: float | None = None) -> Any: ...
    def signal_now(self, name: str, values: list[Any]) -> None: ...
    def query_now(self, name: str, values: list[Any]) -> Any: ...
    def cancel_now(self) -> None: ...
    def terminate_now(self, reason: str | None) -> None: ...
    def show(self) -> None: ...
    @property
    def timeline(self) -> Any: ...


class CommandContext(Protocol):
    """What commands need of the extension."""

    @property
    def names(self) -> Mapping[str, object]:
        """The notebook's variables, for expressions."""
        ...

    def describe(self, name: str, run_id: str = "") -> DescribeWorkflowExecutionResponse:
        """Find an execution by id or by a cell's NAME."""
        ...

    def handle(self, name: str, run_id: str = "") -> _Handle:
        """Follow such an execution."""
        ...

    def open_handles(self) -> Iterable[_Handle]:
        """Executions of this kernel that are open."""
        ...

    def history(self, name: str, run_id: str = "") -> tuple[Event, ...]:
        """The events of an execution."""
        ...

    def executions(self, **narrowed: Any) -> tuple[Any, ...]:
        """List executions."""
        ...

    def say(self, text: str) -> None:
        """Tell the author something short, unless the line asked for quiet."""
        ...


@dataclass(frozen=True)
class Command:
    """One subcommand.

    Attributes:
        name: as it is typed.
        summary: one line for the list of commands.
        examples: lines that teach it.
        configure: adds its options to a parser.
        run: does it; what it returns is the value of the line.
    """

    name: str
    summary: str
    examples: str
    configure: Callable[[CommandParser], None]
    run: Callable[[CommandContext, Namespace], Any]

    def parser(self) -> CommandParser:
        """A parser for its options."""
        parser = CommandParser(f"%workflow {self.name}", self.summary, self.examples)
        self.configure(parser)
        return parser


def run_command(context: CommandContext, words: tuple[str, ...]) -> Any:
    """Carry out ``%workflow WORDS``.

    Raises:
        UsageError: no such subcommand (names the nearest), or wrong options.
        HelpShown: help was asked for.
        CommandError: it could not be done; the text says why.
    """
    if not words or words[0] in {"-h", "--help", "help"}:
        raise HelpShown(cell_parser().format_help() if words[1:2] == ("cell",) else overview())
    command = COMMANDS.get(words[0])
    if command is None:
        close = nearest(words[0], COMMANDS)
        hint = f"Did you mean {close}?" if close else f"Known: {', '.join(COMMANDS)}."
        raise UsageError(f"unknown subcommand {words[0]!r}", hint=hint)
    return command.run(context, command.parser().parse(words[1:]))


def overview() -> str:
    """The help of the line magic as a whole."""
    width = max(len(name) for name in COMMANDS)
    lines = [f"  {command.name.ljust(width)}  {command.summary}" for command in COMMANDS.values()]
    return "\n".join(
        [
            "usage: %workflow SUBCOMMAND ...          look at executions and steer them",
            "       %%workflow [NAME] [options]       make a cell a durable workflow; see %workflow help cell",
            "",
            "subcommands (each has --help):",
            *lines,
            "",
            "An execution is named by its workflow id, or by the NAME of its cell in this notebook.",
            "Values are Python expressions: a text needs quotes around its quotes, for example \"'yes'\".",
        ]
    )


# --- options that several share -------------------------------------------------------------------------------------


def _one(parser: CommandParser) -> None:
    parser.add_argument("execution", metavar="ID", help="workflow id, or NAME of a cell")
    parser.add_argument("--run-id", default="", metavar="RUN", help="which run; the latest by default")


def _values(parser: CommandParser) -> None:
    parser.add_argument("values", nargs="*", metavar="EXPR", help="arguments, as Python expressions")
    parser.add_argument("--input", action="append", default=[], metavar="EXPR", help="a further argument; may be repeated")


def _evaluated(context: CommandContext, options: Namespace, command: str) -> list[Any]:
    return [evaluate(text, context.names, "--input", f"%workflow {command}") for text in (*options.values, *options.input)]


# --- the commands ---------------------------------------------------------------------------------------------------


def _configure_list(parser: CommandParser) -> None:
    statuses = [status.name.lower() for status in WorkflowExecutionStatus]
    parser.add_argument("--status", choices=statuses, metavar="STATUS", help=f"only these: {', '.join(statuses)}")
    parser.add_argument("--type", metavar="TYPE", help="only executions of this workflow type")
    parser.add_argument("--id", metavar="ID", help="only the runs of this workflow id")
    parser.add_argument("--limit", type=int, default=50, metavar="N", help="at most so many (50)")


def _list(context: CommandContext, options: Namespace) -> Table:
    status = WorkflowExecutionStatus[options.status.upper()] if options.status else None
    found = context.executions(status=status, workflow_type=options.type, workflow_id=options.id, limit=options.limit)
    return executions_table(found, time.time_ns())


def _show(context: CommandContext, options: Namespace) -> None:
    context.handle(options.execution, options.run_id).show()


def _configure_history(parser: CommandParser) -> None:
    _one(parser)
    parser.add_argument("--json", action="store_true", help="the whole of each event, as Python data")


def _history(context: CommandContext, options: Namespace) -> Any:
    events = context.history(options.execution, options.run_id)
    if not options.json:
        return history_table(events)
    rows: list[Any] = []
    for event in events:
        attributes = json.loads(codec.encode(event.attributes))
        rows.append({"event_id": event.event_id, "event_time": event.event_time, "type": event.stored_name, **attributes})
    return rows


def _configure_wait(parser: CommandParser) -> None:
    parser.add_argument(
        "executions", nargs="*", metavar="ID", help="workflow ids or NAMEs; all open ones of this kernel by default"
    )
    parser.add_argument("--timeout", type=parse_duration, metavar="TIME", help="give up after this time; the executions go on")


def _wait(context: CommandContext, options: Namespace) -> Any:
    handles = [context.handle(name) for name in options.executions] or list(context.open_handles())
    deadline = None if options.timeout is None else time.monotonic() + options.timeout.total_seconds()
    results: list[Any] = []
    for handle in handles:
        remaining = None if deadline is None else max(0.0, deadline - time.monotonic())
        try:
            results.append(handle.wait(remaining))
        except TimeoutError as error:
            raise CommandError(str(error)) from None
    return results[0] if len(options.executions) == 1 else None


def _result(context: CommandContext, options: Namespace) -> Any:
    described = context.describe(options.execution, options.run_id)
    handle = context.handle(options.execution, options.run_id)
    if described.status is WorkflowExecutionStatus.RUNNING:
        raise CommandError(f'{handle.id} is still running: {handle.timeline.waiting}. To wait: %workflow wait "{handle.id}"')
    return handle.wait()


def _configure_signal(parser: CommandParser) -> None:
    _one(parser)
    parser.add_argument("signal", metavar="SIGNAL", help="name of the signal")
    _values(parser)


def _signal(context: CommandContext, options: Namespace) -> None:
    values = _evaluated(context, options, "signal")
    handle = context.handle(options.execution, options.run_id)
    handle.signal_now(options.signal, values)
    context.say(f"signal {options.signal!r} recorded for {handle.id}")


def _configure_query(parser: CommandParser) -> None:
    _one(parser)
    parser.add_argument("query", metavar="QUERY", help="name of the query")
    _values(parser)


def _query(context: CommandContext, options: Namespace) -> Any:
    values = _evaluated(context, options, "query")
    return context.handle(options.execution, options.run_id).query_now(options.query, values)


def _cancel(context: CommandContext, options: Namespace) -> None:
    handle = context.handle(options.execution, options.run_id)
    handle.cancel_now()
    context.say(f"cancellation of {handle.id} requested; its code decides how to end")


def _configure_terminate(parser: CommandParser) -> None:
    _one(parser)
    parser.add_argument("--reason", metavar="TEXT", help="recorded with it")


def _terminate(context: CommandContext, options: Namespace) -> None:
    handle = context.handle(options.execution, options.run_id)
    handle.terminate_now(options.reason)
    context.say(f"{handle.id} terminated")


def _why(context: CommandContext, options: Namespace) -> None:
    timeline = context.handle(options.execution, options.run_id).timeline
    problem = timeline.problem or timeline.code.problem
    text = timeline.waiting or timeline.outcome
    context.say(f"{timeline.workflow_id} ({timeline.status}): {text}")
    if problem is not None and problem.trace:
        context.say(problem.trace)


_ALL = (
    Command(
        "list",
        "executions, latest first",
        "  %workflow list\n  %workflow list --status running\n  failed = %workflow list --status failed --limit 10",
        _configure_list,
        _list,
    ),
    Command("show", "the live timeline of an execution", "  %workflow show weather", _one, _show),
    Command(
        "history",
        "the recorded events of an execution",
        "  %workflow history weather\n  events = %workflow history weather --json",
        _configure_history,
        _history,
    ),
    Command("why", "why an execution waits now", "  %workflow why weather", _one, _why),
    Command(
        "wait",
        "block until executions are done",
        "  %workflow wait\n  %workflow wait weather --timeout 2m\n  answer = %workflow wait weather",
        _configure_wait,
        _wait,
    ),
    Command("result", "the result of an execution that is done", "  answer = %workflow result weather", _one, _result),
    Command(
        "signal",
        "send a signal to an open execution",
        "  %workflow signal weather approve True\n  %workflow signal weather comment \"'looks good'\"\n"
        "  %workflow signal weather set_limit --input limit",
        _configure_signal,
        _signal,
    ),
    Command(
        "query",
        "ask an execution's code",
        "  %workflow query weather progress\n  done = %workflow query weather steps_after 3",
        _configure_query,
        _query,
    ),
    Command("cancel", "ask an execution to end itself", "  %workflow cancel weather", _one, _cancel),
    Command(
        "terminate",
        "end an execution at once",
        '  %workflow terminate weather --reason "wrong input"',
        _configure_terminate,
        _terminate,
    ),
)

COMMANDS: Mapping[str, Command] = {command.name: command for command in _ALL}
"""The subcommands, by name."""
