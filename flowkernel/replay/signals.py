"""Signals: each is handled in a task of its own; those that nobody handles yet wait, in order."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from flowkernel.model.events import WorkflowExecutionSignaled
from flowkernel.replay.definitions import HandlerDefinition, Handlers, HandlerUnfinishedPolicy

if TYPE_CHECKING:
    from flowkernel.replay.runtime import WorkflowRuntime


class UnfinishedSignalHandlersWarning(RuntimeWarning):
    """The run ended before all its signal handlers had finished."""


class Signals:
    """The signal handlers of one run, and the signals that wait for one."""

    __slots__ = ("_buffered", "_handlers", "_inboxes", "_own", "_running", "_runtime")

    def __init__(self, runtime: WorkflowRuntime, handlers: Handlers) -> None:
        self._runtime = runtime
        self._handlers = handlers
        self._own: dict[str | None, HandlerDefinition] | None = None
        self._buffered: dict[str, list[WorkflowExecutionSignaled]] = {}
        self._running: dict[asyncio.Task[Any], tuple[str, HandlerDefinition]] = {}
        self._inboxes: dict[str, asyncio.Queue[Any]] | None = None

    @property
    def names(self) -> list[str]:
        """Names of the signals that have a handler now."""
        return sorted(name for name in self._handlers if name is not None)

    @property
    def all_finished(self) -> bool:
        """Whether no handler is running."""
        return not self._running

    def handler(self, name: str | None) -> Callable[..., Any] | None:
        """The handler of a signal, bound to the run's object; the dynamic one for None."""
        definition = self._handlers.get(name)
        return definition.bound(self._runtime.instance) if definition is not None else None

    def _own_handlers(self) -> dict[str | None, HandlerDefinition]:
        # Runs share their definition's handlers until one of them sets its own.
        if self._own is None:
            self._handlers = self._own = dict(self._handlers)
        return self._own

    def set_handler(self, name: str | None, fn: Callable[..., Any] | None) -> None:
        """Set or remove a handler, and hand it the signals that have been waiting for it.

        Raises:
            ReadOnlyContextError: in a query handler.
            TypeError: the function cannot be called the way that handlers are.
        """
        self._runtime.loop.outbox.check("set a signal handler")
        handlers = self._own_handlers()
        if fn is None:
            handlers.pop(name, None)
            return
        handlers[name] = definition = HandlerDefinition.make("signal handler", fn, name, is_method=False)
        waiting = self._buffered
        if name is not None:
            for signal in waiting.pop(name, ()):
                self._start(definition, signal)
            return
        self._buffered = {}
        for signals in waiting.values():
            for signal in signals:
                self._start(definition, signal)

    def inbox(self, name: str) -> asyncio.Queue[Any]:
        """The arguments of signals of this name that nobody has received yet, in order.

        Raises:
            RuntimeError: the signal has a handler of the workflow's own.
        """
        if self._inboxes is None:
            self._inboxes = {}
        inbox = self._inboxes.get(name)
        if inbox is None:
            if name in self._handlers:
                raise RuntimeError(f"signal {name!r} has a handler: it gets the signals, so there is nothing to receive")
            inbox = self._inboxes[name] = asyncio.Queue()

            def keep(value: Any = None) -> None:
                inbox.put_nowait(value)

            self.set_handler(name, keep)
        return inbox

    def deliver(self, signal: WorkflowExecutionSignaled) -> None:
        """Handle a signal, or keep it for a handler that may come."""
        definition = self._handlers.get(signal.signal_name) or self._handlers.get(None)
        if definition is None:
            self._buffered.setdefault(signal.signal_name, []).append(signal)
        else:
            self._start(definition, signal)

    def _start(self, definition: HandlerDefinition, signal: WorkflowExecutionSignaled) -> None:
        runtime = self._runtime
        try:
            args = runtime.handler_args(definition, signal.signal_name, signal.input)
        except Exception as error:  # noqa: BLE001 - a sender's mistake must not stop the workflow
            runtime.loop.report(f"signal {signal.signal_name!r} dropped: its arguments cannot be read", error)
            return
        task = runtime.spawn(self._handle(definition, args), f"signal {signal.signal_name}")
        self._running[task] = (signal.signal_name, definition)
        task.add_done_callback(self._finished)

    async def _handle(self, definition: HandlerDefinition, args: list[Any]) -> None:
        # Bound here and not earlier: the first signals arrive before the run's object is made.
        returned = definition.bound(self._runtime.instance)(*args)
        if asyncio.iscoroutine(returned):
            await returned

    def _finished(self, task: asyncio.Task[Any]) -> None:
        self._running.pop(task, None)

    def warn_unfinished(self) -> None:
        """Warn about handlers that the run's end abandons."""
        abandoned: dict[str, int] = {}
        for name, definition in self._running.values():
            if definition.unfinished_policy is HandlerUnfinishedPolicy.WARN_AND_ABANDON:
                abandoned[name] = abandoned.get(name, 0) + 1
        if abandoned:
            listed = ", ".join(f"{name} ({count})" for name, count in abandoned.items())
            warnings.warn(
                UnfinishedSignalHandlersWarning(
                    f"workflow {self._runtime.run.workflow_id!r} ends while signal handlers are still running: {listed}. "
                    f"Wait for them with workflow.wait_condition(workflow.all_handlers_finished), or declare the handler with "
                    f"unfinished_policy=HandlerUnfinishedPolicy.ABANDON"
                ),
                stacklevel=2,
            )
