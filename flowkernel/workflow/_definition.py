"""Decorators that make a class a workflow."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Literal, TypeVar, overload

from flowkernel.replay.definitions import (
    INIT_MARK,
    QUERY_MARK,
    RUN_MARK,
    SIGNAL_MARK,
    WORKFLOW_MARK,
    HandlerDefinition,
    HandlerUnfinishedPolicy,
    WorkflowDefinition,
)
from flowkernel.replay.signatures import name_of_function, require_positional

C = TypeVar("C", bound=type[Any])
F = TypeVar("F", bound=Callable[..., Any])
RunFn = TypeVar("RunFn", bound=Callable[..., Awaitable[Any]])
SignalFn = TypeVar("SignalFn", bound=Callable[..., Awaitable[None] | None])


@overload
def defn(cls: C) -> C: ...
@overload
def defn(
    *,
    name: str | None = None,
    sandboxed: bool = True,
    dynamic: Literal[False] = False,
    failure_exception_types: Sequence[type[BaseException]] = (),
) -> Callable[[C], C]: ...
@overload
def defn(
    *, sandboxed: bool = True, dynamic: Literal[True], failure_exception_types: Sequence[type[BaseException]] = ()
) -> Callable[[C], C]: ...
def defn(
    cls: type[Any] | None = None,
    *,
    name: str | None = None,
    sandboxed: bool = True,
    dynamic: bool = False,
    failure_exception_types: Sequence[type[BaseException]] = (),
) -> Any:
    """Make a class a workflow. It has one method decorated with ``@workflow.run``; each run gets an instance of its own.

    A class may be defined anywhere, in a notebook cell or a function too.

    Args:
        cls: the class, when used without parentheses.
        name: the workflow type; the class's name by default.
        sandboxed: kept for programs written for Temporal; flowkernel does not import modules anew for each run.
        dynamic: take every workflow type that has no definition of its own; ``run`` then takes one ``Sequence[RawValue]``.
        failure_exception_types: exceptions that fail the run. Any other that is no ``FailureError`` or ``TimeoutError``
            suspends it until the code is mended.
    Raises:
        TypeError: the class breaks a rule; the message names each one.
        ValueError: both ``name`` and ``dynamic``.
    """
    if dynamic and name is not None:
        raise ValueError(f"workflow {name!r} is given a name and dynamic=True: a dynamic workflow takes every name")

    def decorate(target: type[Any]) -> type[Any]:
        if vars(target).get(WORKFLOW_MARK) is not None:
            raise TypeError(f"workflow class {target.__qualname__} is decorated with @workflow.defn twice")
        definition = WorkflowDefinition.of_class(
            target,
            name=None if dynamic else name or target.__name__,
            sandboxed=sandboxed,
            failure_exception_types=tuple(failure_exception_types),
        )
        setattr(target, WORKFLOW_MARK, definition)
        setattr(definition.run, WORKFLOW_MARK, definition)
        return target

    return decorate if cls is None else decorate(cls)


def run(fn: RunFn) -> RunFn:
    """Mark the method that is the workflow. Exactly one per class, on the class itself.

    Raises:
        TypeError: it is not declared with ``async def``, or needs keyword arguments.
    """
    if not inspect.iscoroutinefunction(fn):
        raise TypeError(f"@workflow.run method {name_of_function(fn)} must be declared with async def")
    require_positional(fn, "@workflow.run method")
    setattr(fn, RUN_MARK, True)
    return fn


def init(init_fn: F) -> F:
    """Have ``__init__`` get the workflow's arguments too. Its parameters must be those of the run method.

    Raises:
        TypeError: the function is not ``__init__``.
    """
    if init_fn.__name__ != "__init__":
        raise TypeError(f"@workflow.init belongs on __init__, not on {name_of_function(init_fn)}")
    setattr(init_fn, INIT_MARK, True)
    return init_fn


def _name_for(fn: Callable[..., Any], name: str | None, dynamic: bool, role: str) -> str | None:
    if dynamic and name is not None:
        raise ValueError(f"{role} {name!r} is given a name and dynamic=True: a dynamic handler takes every name")
    return None if dynamic else name or fn.__name__


@overload
def signal(fn: SignalFn) -> SignalFn: ...
@overload
def signal(
    *,
    name: str | None = None,
    dynamic: bool = False,
    unfinished_policy: HandlerUnfinishedPolicy = HandlerUnfinishedPolicy.WARN_AND_ABANDON,
    description: str | None = None,
) -> Callable[[SignalFn], SignalFn]: ...
def signal(
    fn: Callable[..., Any] | None = None,
    *,
    name: str | None = None,
    dynamic: bool = False,
    unfinished_policy: HandlerUnfinishedPolicy = HandlerUnfinishedPolicy.WARN_AND_ABANDON,
    description: str | None = None,
) -> Any:
    """Mark a method, plain or async, that handles a signal. What it returns is ignored.

    Args:
        fn: the method, when used without parentheses.
        name: the signal's name; the method's by default.
        dynamic: take every signal that has no handler of its own; parameters are ``(name: str, args: Sequence[RawValue])``.
        unfinished_policy: what happens when the run ends while it is running.
        description: for people.
    Raises:
        TypeError: the method cannot be called the way that handlers are.
        ValueError: both ``name`` and ``dynamic``.
    """

    def decorate(target: Callable[..., Any]) -> Callable[..., Any]:
        definition = HandlerDefinition.make(
            "@workflow.signal method",
            target,
            _name_for(target, name, dynamic, "signal"),
            unfinished_policy=unfinished_policy,
            description=description,
        )
        setattr(target, SIGNAL_MARK, definition)
        return target

    return decorate if fn is None else decorate(fn)


@overload
def query(fn: F) -> F: ...
@overload
def query(*, name: str | None = None, dynamic: bool = False, description: str | None = None) -> Callable[[F], F]: ...
def query(
    fn: Callable[..., Any] | None = None, *, name: str | None = None, dynamic: bool = False, description: str | None = None
) -> Any:
    """Mark a method that answers a query. It looks at the workflow, also after its end, and must not change it.

    Args:
        fn: the method, when used without parentheses.
        name: the query's name; the method's by default.
        dynamic: take every query that has no handler of its own; parameters are ``(name: str, args: Sequence[RawValue])``.
        description: for people.
    Raises:
        TypeError: the method cannot be called the way that handlers are.
        ValueError: both ``name`` and ``dynamic``.
    """

    def decorate(target: Callable[..., Any]) -> Callable[..., Any]:
        definition = HandlerDefinition.make(
            "@workflow.query method", target, _name_for(target, name, dynamic, "query"), description=description
        )
        setattr(target, QUERY_MARK, definition)
        return target

    return decorate if fn is None else decorate(fn)
