"""Queries: they look at a run and must not change it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from flowkernel.model.payloads import Payloads
from flowkernel.model.requests import QueryFailed
from flowkernel.replay.definitions import HandlerDefinition, Handlers
from flowkernel.replay.sources import suspended_frames

if TYPE_CHECKING:
    from flowkernel.replay.runtime import WorkflowRuntime

STACK_TRACE_QUERY = "__stack_trace"
"""Built in: where every task of the workflow waits, as text."""


class Queries:
    """The query handlers of one run."""

    __slots__ = ("_handlers", "_own", "_runtime")

    def __init__(self, runtime: WorkflowRuntime, handlers: Handlers) -> None:
        self._runtime = runtime
        self._handlers = handlers
        self._own: dict[str | None, HandlerDefinition] | None = None

    @property
    def names(self) -> list[str]:
        """Names of the queries that have a handler now."""
        return sorted({name for name in self._handlers if name is not None} | {STACK_TRACE_QUERY})

    def handler(self, name: str | None) -> Callable[..., Any] | None:
        """The handler of a query, bound to the run's object; the dynamic one for None."""
        definition = self._handlers.get(name)
        return definition.bound(self._runtime.instance) if definition is not None else None

    def _own_handlers(self) -> dict[str | None, HandlerDefinition]:
        # Runs share their definition's handlers until one of them sets its own.
        if self._own is None:
            self._handlers = self._own = dict(self._handlers)
        return self._own

    def set_handler(self, name: str | None, fn: Callable[..., Any] | None) -> None:
        """Set or remove a handler.

        Raises:
            ReadOnlyContextError: in a query handler.
            TypeError: the function cannot be called the way that handlers are.
        """
        self._runtime.loop.outbox.check("set a query handler")
        handlers = self._own_handlers()
        if fn is None:
            handlers.pop(name, None)
        else:
            handlers[name] = HandlerDefinition.make("query handler", fn, name, is_method=False)

    def answer(self, query_type: str, payloads: Payloads) -> Payloads:
        """Run the handler in read-only mode, with the run's loop current.

        Raises:
            QueryFailed: there is no such handler, or it raised, or its result cannot be converted.
        """
        runtime = self._runtime
        outbox = runtime.loop.outbox
        converter = runtime.converter
        outbox.read_only = True
        try:
            return tuple(converter.payload_converter.to_payloads([self._call(query_type, payloads)]))
        except Exception as error:
            failure = converter.failure_converter.to_failure(error, converter.payload_converter)
            raise QueryFailed(str(error), failure) from error
        finally:
            outbox.read_only = False

    def _call(self, query_type: str, payloads: Payloads) -> Any:
        runtime = self._runtime
        definition = self._handlers.get(query_type)
        if definition is None and query_type == STACK_TRACE_QUERY:
            return self._stack_trace()
        definition = definition or self._handlers.get(None)
        if definition is None:
            raise LookupError(f"workflow has no query handler {query_type!r}; known queries: {', '.join(self.names)}")
        args = runtime.handler_args(definition, query_type, payloads)
        returned = definition.bound(runtime.instance)(*args)
        return _finish_at_once(returned, query_type) if asyncio.iscoroutine(returned) else returned

    def _stack_trace(self) -> str:
        tasks: list[str] = []
        for task in self._runtime.loop.outbox.tasks:
            lines = [f"{task.get_name()}:"]
            for frame in suspended_frames(task):
                code = frame.f_code
                lines.append(
                    f"  {self._runtime.definition.describe_line(code.co_filename, frame.f_lineno)}, in {code.co_qualname}"
                )
            tasks.append("\n".join(lines))
        return "\n\n".join(tasks)


def _finish_at_once(coroutine: Any, query_type: str) -> Any:
    """Run an ``async def`` handler, which may not wait for anything."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    finally:
        coroutine.close()
    raise RuntimeError(
        f"the handler of query {query_type!r} waits for something; a query is answered at once, from the present state"
    )
