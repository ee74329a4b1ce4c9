"""Handlers that running code sets for itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flowkernel.replay.current import current


def all_handlers_finished() -> bool:
    """Whether no signal handler is running; wait for it before the workflow ends, with `wait_condition`."""
    return current().signals.all_finished


def get_signal_handler(name: str) -> Callable[..., Any] | None:
    """The handler of a signal, bound to the workflow's object; None if there is none."""
    return current().signals.handler(name)


def set_signal_handler(name: str, handler: Callable[..., Any] | None) -> None:
    """Set, replace or (None) remove the handler of a signal. Signals of that name which waited for one are handled now.

    Raises:
        ReadOnlyContextError: in a query handler.
        TypeError: the function cannot be called with positional arguments.
    """
    current().signals.set_handler(name, handler)


async def receive(name: str) -> Any:
    """Wait for the next signal of this name and return its argument; None if it has none.

    Signals that arrived before count, in order, each once. For workflows without a class, where there is no place for a handler:
    ``decision = await workflow.receive("approve")``.

    Raises:
        RuntimeError: the signal has a handler.
        ReadOnlyContextError: in a query handler.
    """
    return await current().signals.inbox(name).get()


def get_dynamic_signal_handler() -> Callable[..., Any] | None:
    """The handler of all signals that have none of their own; None if there is none."""
    return current().signals.handler(None)


def set_dynamic_signal_handler(handler: Callable[..., Any] | None) -> None:
    """Set or remove the handler of all signals that have none of their own: ``(name: str, args: Sequence[RawValue])``.

    All signals which waited for a handler are handled now. Errors as for `set_signal_handler`.
    """
    current().signals.set_handler(None, handler)


def get_query_handler(name: str) -> Callable[..., Any] | None:
    """The handler of a query, bound to the workflow's object; None if there is none."""
    return current().queries.handler(name)


def set_query_handler(name: str, handler: Callable[..., Any] | None) -> None:
    """Set, replace or (None) remove the handler of a query. Errors as for `set_signal_handler`."""
    current().queries.set_handler(name, handler)


def get_dynamic_query_handler() -> Callable[..., Any] | None:
    """The handler of all queries that have none of their own; None if there is none."""
    return current().queries.handler(None)


def set_dynamic_query_handler(handler: Callable[..., Any] | None) -> None:
    """Set or remove the handler of all queries that have none of their own: ``(name: str, args: Sequence[RawValue])``.

    Errors as for `set_signal_handler`.
    """
    current().queries.set_handler(None, handler)
