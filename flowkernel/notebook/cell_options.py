"""The options of ``%%workflow``."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, cast

from flowkernel.common import RetryPolicy
from flowkernel.notebook.errors import UsageError
from flowkernel.notebook.options import CommandParser, evaluate, parse_duration, parse_retry
from flowkernel.replay.options import ActivityOptions

__all__ = ["CELL_COMMAND", "CellOptions", "cell_parser", "default_activity_options", "parse_cell_options"]

CELL_COMMAND = "%%workflow"
_NOTEBOOK_START_TO_CLOSE = timedelta(hours=1)
_SUMMARY = """\
Make this cell a durable workflow, and start it in the background.

The cell's code is the workflow: what it awaits is recorded, and after a crash it carries on from there. Names that it reads
from the notebook are its input; the value of the last expression is its result. Running the cell again attaches to the
execution while it is open.

A cell that defines a class with @workflow.defn registers it, and starts it with --start or --input."""
_EXAMPLES = """\
  %%workflow weather --start-to-close 30s
  rows = await load(source)
  await workflow.sleep("2s")
  (await summarise(rows))["mean"]

  %%workflow etl --retry "maximum_attempts=3, initial_interval=2s" --wait
  %%workflow orders --id "orders-2026" --input cart --input 17      (a workflow class)

  await weather                      the result, in another cell
  %workflow show weather             its timeline again"""


@dataclass(frozen=True)
class CellOptions:
    """What a ``%%workflow`` line asks for. Durations that were not given are None."""

    name: str | None
    workflow_id: str | None
    task_queue: str | None
    start_to_close: timedelta | None
    schedule_to_close: timedelta | None
    heartbeat: timedelta | None
    retry: RetryPolicy | None
    execution_timeout: timedelta | None
    run_timeout: timedelta | None
    task_timeout: timedelta | None
    memo: Mapping[str, Any] | None
    inputs: tuple[Any, ...]
    wait: bool
    new: bool
    start: bool

    @property
    def starts_class(self) -> bool:
        """Whether a workflow class is to be started, not just registered."""
        return self.start or bool(self.inputs)

    def activity_options(self) -> ActivityOptions:
        """Defaults for the activities of this workflow.

        Raises:
            UsageError: the retry policy breaks a rule.
        """
        given = self.start_to_close or self.schedule_to_close
        try:
            return ActivityOptions.parse(
                start_to_close_timeout=self.start_to_close if given else _NOTEBOOK_START_TO_CLOSE,
                schedule_to_close_timeout=self.schedule_to_close,
                heartbeat_timeout=self.heartbeat,
                retry_policy=self.retry,
            )
        except ValueError as error:
            raise UsageError(str(error), command=CELL_COMMAND) from None


def default_activity_options() -> ActivityOptions:
    """For workflow classes that ordinary cells define: an hour per attempt, as nobody said anything."""
    return ActivityOptions.parse(start_to_close_timeout=_NOTEBOOK_START_TO_CLOSE)


def cell_parser() -> CommandParser:
    """The parser of the cell magic's line."""
    parser = CommandParser(CELL_COMMAND, _SUMMARY, _EXAMPLES)
    add = parser.add_argument
    add("name", nargs="?", metavar="NAME", help="names the workflow; the handle becomes a variable of this name")
    add("--id", metavar="ID", help="workflow id; default: the notebook's name and NAME")
    add("--task-queue", metavar="QUEUE", help="task queue; default: FlowKernel.task_queue")
    add(
        "--start-to-close",
        type=parse_duration,
        metavar="TIME",
        help="limit of one attempt of an activity, for example 30s, 2m, 1h30m",
    )
    add("--schedule-to-close", type=parse_duration, metavar="TIME", help="limit of an activity with all its attempts")
    add("--heartbeat", type=parse_duration, metavar="TIME", help="an activity that is silent for longer has failed")
    add("--retry", metavar="POLICY", help='of activities: "maximum_attempts=3, initial_interval=1s", or an expression')
    add("--execution-timeout", type=parse_duration, metavar="TIME", help="limit of the execution with all its runs")
    add("--run-timeout", type=parse_duration, metavar="TIME", help="limit of one run")
    add("--task-timeout", type=parse_duration, metavar="TIME", help="how long a worker may hold the workflow's code (10s)")
    add("--memo", metavar="EXPR", help="a dict of notes that lists show")
    add("--input", action="append", default=[], metavar="EXPR", help="argument of a workflow class; may be repeated")
    add("--start", action="store_true", help="start the workflow class that the cell defines")
    add("--new", action="store_true", help="start anew: an open execution of this id is terminated")
    add("--wait", action="store_true", help="block until it is done; the result is the cell's value")
    return parser


def parse_cell_options(words: tuple[str, ...], names: Mapping[str, object]) -> CellOptions:
    """Read a ``%%workflow`` line.

    Args:
        words: the line, split.
        names: the notebook's variables, for expressions.
    Raises:
        UsageError: an unknown option, or a value that does not fit.
        HelpShown: help was asked for.
    """
    given = cell_parser().parse(words)
    name: str | None = given.name
    if name is not None and not name.isidentifier():
        raise UsageError(f"NAME {name!r} cannot be a variable", command=CELL_COMMAND, hint="Use letters, digits and underscores.")
    return CellOptions(
        name=name,
        workflow_id=given.id,
        task_queue=given.task_queue,
        start_to_close=given.start_to_close,
        schedule_to_close=given.schedule_to_close,
        heartbeat=given.heartbeat,
        retry=parse_retry(given.retry, names, CELL_COMMAND) if given.retry is not None else None,
        execution_timeout=given.execution_timeout,
        run_timeout=given.run_timeout,
        task_timeout=given.task_timeout,
        memo=_memo(given, names),
        inputs=tuple(evaluate(text, names, "--input", CELL_COMMAND) for text in given.input),
        wait=given.wait,
        new=given.new,
        start=given.start,
    )


def _memo(given: Namespace, names: Mapping[str, object]) -> Mapping[str, Any] | None:
    if given.memo is None:
        return None
    value = evaluate(given.memo, names, "--memo", CELL_COMMAND)
    if not isinstance(value, dict):
        hint = "Write for example --memo \"{'owner': 'ops'}\"."
        raise UsageError(f"--memo {given.memo}: a {type(value).__name__} is no dict", command=CELL_COMMAND, hint=hint)
    return cast("dict[str, Any]", value)
