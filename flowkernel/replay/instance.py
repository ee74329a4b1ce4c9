"""One run's code in memory: fed with history, answering with commands.

A history is cut into *activations*: the events up to a ``WorkflowTaskStarted`` whose task completed, or up to the one that is to
be answered now. Tasks that failed or timed out never happened as far as the code is concerned; what arrived for them belongs to
the next activation. Commands of completed tasks are not handed out: the events that follow ``WorkflowTaskCompleted`` must record
exactly them, in order, or the code no longer fits its history.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Any, NoReturn

from flowkernel.converter import DataConverter
from flowkernel.converter.naming import always, to_payloads
from flowkernel.model.commands import Command, CompleteWorkflowExecution, FailWorkflowExecution
from flowkernel.model.events import (
    CLOSE_EVENTS,
    Event,
    WorkflowTaskCompleted,
    WorkflowTaskFailed,
    WorkflowTaskScheduled,
    WorkflowTaskStarted,
    WorkflowTaskTimedOut,
)
from flowkernel.model.ids import EventId, RunRef
from flowkernel.model.payloads import Header, Payloads
from flowkernel.model.requests import QueryFailed
from flowkernel.replay.arrivals import READERS, Arrivals
from flowkernel.replay.definitions import WorkflowDefinition
from flowkernel.replay.errors import NondeterminismError, OutdatedInstance, WorkflowCodeError
from flowkernel.replay.loop import ignore
from flowkernel.replay.matching import COMMAND_EVENTS, command_in_words, event_in_words, matches
from flowkernel.replay.runtime import Report, WorkflowRuntime
from flowkernel.replay.sources import SourceLine, describe, traceback_line, waiting_line

_EVICTION_ROUNDS = 100

_get_loop: Any = asyncio._get_running_loop  # pyright: ignore[reportPrivateUsage,reportAttributeAccessIssue]
_set_loop: Any = asyncio._set_running_loop  # pyright: ignore[reportPrivateUsage,reportAttributeAccessIssue]


class WorkflowInstance:
    """The code of one run, activated with its history.

    Not thread-safe: activate, query and evict one at a time. After any error out of `activate` it is unusable: evict it.

    Args:
        definition: the code.
        run: whose history it will get.
        data_converter: reads and writes payloads and failures.
        failure_exception_types: exceptions that fail runs instead of suspending them, beside the definition's own.
        report: told of what the code cannot be told: signals that cannot be read, errors that nobody awaits.

    Attributes:
        last_event_id: the last event seen; the next call must continue after it.
        closed: the code has ended, or the history has.
    """

    __slots__ = ("_answered", "_arrivals", "_begun", "_broken", "_expected", "_runtime", "_task", "closed", "last_event_id")

    def __init__(
        self,
        definition: WorkflowDefinition,
        run: RunRef,
        data_converter: DataConverter,
        *,
        failure_exception_types: Sequence[type[BaseException]] = (),
        report: Report = ignore,
    ) -> None:
        self._runtime = WorkflowRuntime(definition, run, data_converter, tuple(failure_exception_types), report)
        self._arrivals = Arrivals()
        self._expected: deque[tuple[Command, SourceLine | None]] = deque()
        self._task: Event | None = None  # a WorkflowTaskStarted of which it is not known yet whether it completed
        self._answered: EventId = 0  # the WorkflowTaskStarted whose commands were handed out
        self._begun = False
        self._broken = False
        self.last_event_id: EventId = 0
        self.closed = False

    @property
    def runtime(self) -> WorkflowRuntime:
        """What the code can reach; for tools that look at a run."""
        return self._runtime

    # --- activation ---------------------------------------------------------------------------------------------

    def activate(self, events: Sequence[Event], *, answer: bool = True) -> tuple[Command, ...]:
        """Take in the next part of the history.

        Args:
            events: what follows `last_event_id`. If it ends with ``WorkflowTaskStarted``, that is answered;
                else this is pure replay.
            answer: False leaves a final ``WorkflowTaskStarted`` open, for a query while the task is with somebody else.
        Returns:
            What the code asks for in answer to the final ``WorkflowTaskStarted``; nothing in pure replay.
        Raises:
            NondeterminismError: the code asks for something else than the history recorded.
            WorkflowCodeError: the code raised something that is no failure; the original is its ``__cause__``.
            OutdatedInstance: the events do not continue what was seen.
        """
        if self._broken:
            raise OutdatedInstance(self._runtime.run, self.last_event_id, "an earlier activation failed")
        outer = _get_loop()
        _set_loop(self._runtime.loop)
        self._broken = True  # until all went well
        try:
            for event in events:
                self._read(event)
            if self._expected and self._task is None and not self._answered:
                self._asked_too_much(0, f"nothing more after event {self.last_event_id}")
            commands: tuple[Command, ...] = ()
            if answer and self._task is not None:
                task, self._task = self._task, None
                self._run(task, replaying=False)
                commands = tuple(command for command, _ in self._expected)
                self._answered = task.event_id
            self._broken = False
        except NondeterminismError as error:
            if answer and self._fails_run(events):
                return self._failed_by(error)
            raise
        else:
            return commands
        finally:
            _set_loop(outer)

    def _read(self, event: Event) -> None:
        if event.event_id != self.last_event_id + 1:
            raise OutdatedInstance(self._runtime.run, event.event_id, event.stored_name)
        attributes = event.attributes
        kind = type(attributes)
        if kind in COMMAND_EVENTS:
            self._match(event)
        elif kind is WorkflowTaskStarted or kind is WorkflowTaskScheduled:
            if self._expected:
                self._asked_too_much(event.event_id, event_in_words(attributes))
            if kind is WorkflowTaskStarted:
                self._task = event
        elif kind is WorkflowTaskCompleted:
            self._completed(event)
        elif kind is WorkflowTaskFailed or kind is WorkflowTaskTimedOut:
            if self._answered:
                raise OutdatedInstance(self._runtime.run, event.event_id, event.stored_name)
            self._task = None
        if kind in CLOSE_EVENTS:
            self.closed = True
            self._task = None
            self._expected.clear()
        reader = READERS.get(kind)
        if reader is not None:
            reader(self._runtime, event, self._arrivals)
        self.last_event_id = event.event_id

    def _completed(self, event: Event) -> None:
        task, self._task = self._task, None
        if self._answered:
            self._answered = 0
        elif task is not None:
            self._run(task, replaying=True)
        else:
            raise OutdatedInstance(self._runtime.run, event.event_id, event.stored_name)

    def _run(self, task: Event, *, replaying: bool) -> None:
        """Let the code see what has arrived, and keep what it asks for."""
        runtime = self._runtime
        attributes = task.attributes
        assert isinstance(attributes, WorkflowTaskStarted)
        runtime.replaying = replaying
        runtime.loop.time_ns = task.event_time
        runtime.history_length = task.event_id
        runtime.history_size = attributes.history_size_bytes
        runtime.continue_as_new_suggested = attributes.suggest_continue_as_new
        arrivals, self._arrivals = self._arrivals, Arrivals()
        outbox = runtime.loop.outbox
        outbox.tracing = replaying
        try:
            self._tell(task, arrivals)
            if outbox.closed:
                self.closed = True
                if not replaying:
                    runtime.signals.warn_unfinished()
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 - all of it is the author's, SystemExit too
            if runtime.is_failure_exception(error):
                runtime.raised(error)
                self.closed = True
            else:
                self._code_raised(error)
        self._expected.extend(outbox.take())

    def _tell(self, task: Event, arrivals: Arrivals) -> None:
        runtime = self._runtime
        loop = runtime.loop
        args: list[Any] = []
        first = not self._begun
        if first:
            assert runtime.started is not None, "a history begins with WorkflowExecutionStarted"
            runtime.start_time = task.event_time
            args = runtime.run_args(runtime.started.input)
        if arrivals.signals:
            for signal in arrivals.signals:
                runtime.signals.deliver(signal)
            if first:
                self._make(args)
            loop.run_ready()
        if first:
            runtime.run_task = runtime.spawn(self._run_code(args), "run")
        for call, call_args in arrivals.others:
            call(*call_args)
        if first and not self._begun:
            self._make(args)
        loop.run_ready()
        while runtime.activities.cancelled_here:
            loop.outbox.sealed = loop.outbox.closed
            runtime.activities.resolve_cancelled()
            loop.run_ready()

    def _make(self, args: list[Any]) -> None:
        # With the loop current, so that __init__ may make asyncio's objects.
        self._begun = True
        self._runtime.instance = self._runtime.definition.make(args)

    async def _run_code(self, args: list[Any]) -> None:
        runtime = self._runtime
        definition = runtime.definition
        result = await (definition.run(*args) if definition.cls is None else definition.run(runtime.instance, *args))
        name = always(f"workflow {definition.name!r}: its result")
        payloads = tuple(to_payloads(runtime.converter.payload_converter, [result], name))
        runtime.loop.outbox.close(CompleteWorkflowExecution(payloads), None)

    def _code_raised(self, error: BaseException) -> NoReturn:
        runtime = self._runtime
        where = describe(traceback_line(error), runtime.definition.describe_line)
        raise WorkflowCodeError(runtime.run, error, where) from error

    # --- matching -----------------------------------------------------------------------------------------------

    def _match(self, event: Event) -> None:
        """Compare an event that records a command with what the code asked for at this place."""
        runtime = self._runtime
        recorded = event_in_words
        words = runtime.definition.describe_line
        if not self._expected:
            where = describe(waiting_line(runtime.run_task), words)
            raise NondeterminismError(runtime.run, event.event_id, recorded(event.attributes), "nothing more", where)
        command, line = self._expected.popleft()
        if not matches(command, event.attributes):
            raise NondeterminismError(
                runtime.run, event.event_id, recorded(event.attributes), command_in_words(command), describe(line, words)
            )

    def _asked_too_much(self, event_id: EventId, recorded: str) -> NoReturn:
        command, line = self._expected[0]
        where = describe(line, self._runtime.definition.describe_line)
        raise NondeterminismError(self._runtime.run, event_id, recorded, command_in_words(command), where)

    def _fails_run(self, events: Sequence[Event]) -> bool:
        ends_with_task = bool(events) and type(events[-1].attributes) is WorkflowTaskStarted
        return ends_with_task and self._runtime.fails_run(NondeterminismError)

    def _failed_by(self, error: NondeterminismError) -> tuple[Command, ...]:
        self.closed = True
        converter = self._runtime.converter
        return (FailWorkflowExecution(converter.failure_converter.to_failure(error, converter.payload_converter)),)

    # --- queries and the end ------------------------------------------------------------------------------------

    def query(self, query_type: str, args: Payloads = (), header: Header | None = None) -> Payloads:  # noqa: ARG002
        """Answer a query from the present state, changing nothing.

        Args:
            query_type: name of the handler.
            args: its arguments.
            header: what interceptors passed along; nothing reads it yet.
        Raises:
            QueryFailed: there is no such handler, it raised, or the code has not run yet.
        """
        runtime = self._runtime
        if runtime.loop.outbox.evicting:
            raise OutdatedInstance(runtime.run, self.last_event_id, "the instance was evicted")
        if not self._begun:
            raise QueryFailed(f"workflow {runtime.run.workflow_id!r} cannot answer yet: its code has not run for the first time")
        outer = _get_loop()
        _set_loop(runtime.loop)
        runtime.serving_query = True
        try:
            return runtime.queries.answer(query_type, args)
        finally:
            runtime.serving_query = False
            _set_loop(outer)

    def evict(self) -> None:
        """Tear the code down: its tasks are cancelled, their ``finally`` blocks run, and nothing of it becomes a command.

        The instance is unusable afterwards. Calling it again does nothing.
        """
        runtime = self._runtime
        loop = runtime.loop
        outbox = loop.outbox
        self._broken = True
        if outbox.evicting:
            return
        outbox.evicting = True
        runtime.replaying = True
        if outbox.tasks:
            outer = _get_loop()
            _set_loop(loop)
            try:
                self._cancel_tasks()
            finally:
                _set_loop(outer)
        runtime.release()

    def _cancel_tasks(self) -> None:
        loop = self._runtime.loop
        tasks = loop.outbox.tasks
        for _ in range(_EVICTION_ROUNDS):
            for task in list(tasks):
                task.cancel()
            loop.run_ready()
            if not tasks:
                return
        names = ", ".join(task.get_name() for task in tasks)
        loop.report(
            f"workflow {self._runtime.run.workflow_id!r}: tasks that swallow their cancellation were left behind: {names}. "
            f"Let asyncio.CancelledError pass.",
            None,
        )
