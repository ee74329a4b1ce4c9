"""What authors define: workflows, their handlers, activities. Made once per definition; every run uses them."""

from __future__ import annotations

import dataclasses
import enum
import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar, cast

from flowkernel.replay.options import NO_OPTIONS, ActivityOptions
from flowkernel.replay.signatures import (
    name_of_function,
    require_dynamic_handler,
    require_dynamic_run,
    require_positional,
    same_parameters,
    type_hints,
)
from flowkernel.replay.sources import DescribeLine, plain_line

RUN_MARK = "__flowkernel_run__"
INIT_MARK = "__flowkernel_init__"
SIGNAL_MARK = "__flowkernel_signal__"
QUERY_MARK = "__flowkernel_query__"
WORKFLOW_MARK = "__flowkernel_workflow__"
ACTIVITY_MARK = "__flowkernel_activity__"


class HandlerUnfinishedPolicy(enum.Enum):
    """What happens when a run ends while a handler is still running."""

    WARN_AND_ABANDON = 1
    """Warn, and abandon it."""
    ABANDON = 2
    """Abandon it silently."""


@dataclasses.dataclass(frozen=True)
class HandlerDefinition:
    """A signal or query handler. A ``name`` of None makes it dynamic: it takes every name that has no handler of its own."""

    name: str | None
    fn: Callable[..., Any]
    is_method: bool = True
    unfinished_policy: HandlerUnfinishedPolicy = HandlerUnfinishedPolicy.WARN_AND_ABANDON
    description: str | None = None
    arg_types: Sequence[Any] | None = None
    ret_type: Any = None

    def bound(self, instance: object) -> Callable[..., Any]:
        """The handler as it is called with the arguments alone."""
        return cast("Callable[..., Any]", self.fn.__get__(instance)) if self.is_method else self.fn

    @classmethod
    def make(cls, role: str, fn: Callable[..., Any], name: str | None, **others: Any) -> HandlerDefinition:
        """Read the function's signature.

        Raises:
            TypeError: the function cannot be called the way that handlers are.
        """
        require_positional(fn, role)
        arg_types, ret_type = type_hints(fn)
        if name is None:
            require_dynamic_handler(fn, arg_types)
        return cls(name=name, fn=fn, arg_types=arg_types, ret_type=ret_type, **others)

    @staticmethod
    def signal_of(fn: Callable[..., Any]) -> HandlerDefinition:
        """The definition that ``@workflow.signal`` left on a function.

        Raises:
            TypeError: there is none.
        """
        return _marked(fn, SIGNAL_MARK, "a signal handler; decorate it with @workflow.signal")

    @staticmethod
    def query_of(fn: Callable[..., Any]) -> HandlerDefinition:
        """The definition that ``@workflow.query`` left on a function.

        Raises:
            TypeError: there is none.
        """
        return _marked(fn, QUERY_MARK, "a query handler; decorate it with @workflow.query")


D = TypeVar("D")


def _marked(target: object, mark: str, role: str) -> Any:
    found = getattr(target, mark, None)
    if found is None:
        raise TypeError(f"{getattr(target, '__qualname__', repr(target))} is not {role}")
    return found


Handlers = Mapping[str | None, HandlerDefinition]


@dataclasses.dataclass(frozen=True)
class WorkflowDefinition:
    """A workflow's code and how to call it.

    Attributes:
        name: the workflow type; None for the one that takes every type without a definition of its own.
        run: the method (unbound), or a bare coroutine function when ``cls`` is None.
        cls: the class of which each run gets an instance, made when its code first runs.
        signals: handlers by signal name; the dynamic one under None. Handlers set by running code come on top.
        queries: the same for queries.
        arg_types: what payloads are read as; None reads them untyped.
        ret_type: what the result is read as by clients.
        init_takes_input: ``__init__`` gets the workflow's arguments too (``@workflow.init``).
        failure_exception_types: exceptions that fail the run instead of suspending it.
        activity_defaults: options for activities that are called as plain functions and have none of their own.
        describe_line: turns file and line into words for error messages.
        source: the code as text, if whoever made the definition knows it; nothing here reads it.
    """

    name: str | None
    run: Callable[..., Awaitable[Any]]
    cls: type[Any] | None = None
    signals: Handlers = dataclasses.field(default_factory=dict[str | None, HandlerDefinition])
    queries: Handlers = dataclasses.field(default_factory=dict[str | None, HandlerDefinition])
    arg_types: Sequence[Any] | None = None
    ret_type: Any = None
    init_takes_input: bool = False
    sandboxed: bool = True
    failure_exception_types: tuple[type[BaseException], ...] = ()
    activity_defaults: ActivityOptions = NO_OPTIONS
    describe_line: DescribeLine = plain_line
    source: str = ""

    @classmethod
    def of_function(cls, run: Callable[..., Awaitable[Any]], *, name: str | None = None, **others: Any) -> WorkflowDefinition:
        """A workflow made of one coroutine function and no class.

        Args:
            run: called with the workflow's arguments. Handlers are set by it, with ``workflow.set_signal_handler`` and the like.
            name: the workflow type; the function's name by default.
            others: further fields of this class. ``arg_types`` and ``ret_type`` come from the signature unless given.
        Raises:
            TypeError: not a coroutine function, or one that cannot be called with positional arguments.
        """
        if not inspect.iscoroutinefunction(run):
            raise TypeError(f"the workflow function {name_of_function(run)} must be declared with async def")
        require_positional(run, "workflow function")
        if "arg_types" not in others:
            arg_types, ret_type = type_hints(run)
            others = {"ret_type": ret_type, **others, "arg_types": arg_types}
        return cls(name=name or run.__name__, run=run, **others)

    @classmethod
    def of_class(cls, workflow_class: type[Any], *, name: str | None, **others: Any) -> WorkflowDefinition:
        """Read a class whose methods carry the marks of ``@workflow.run``, ``signal``, ``query`` and ``init``.

        Args:
            name: the workflow type; None makes it dynamic.
            others: further fields of this class.
        Raises:
            TypeError: the class breaks a rule; the message names each one that it breaks.
        """
        reader = _ClassReader(workflow_class)
        run = reader.read()
        arg_types, ret_type = type_hints(run)
        if name is None:
            require_dynamic_run(run, arg_types)
        return cls(
            name=name,
            run=run,
            cls=workflow_class,
            signals=reader.signals,
            queries=reader.queries,
            arg_types=arg_types,
            ret_type=ret_type,
            init_takes_input=hasattr(workflow_class.__init__, INIT_MARK),
            **others,
        )

    @staticmethod
    def of(target: object) -> WorkflowDefinition:
        """The definition that ``@workflow.defn`` left on a class, or on its run method.

        Raises:
            TypeError: there is none, or only a base class has one.
        """
        found: WorkflowDefinition | None = getattr(target, WORKFLOW_MARK, None)
        shown = getattr(target, "__qualname__", repr(target))
        if found is None:
            raise TypeError(
                f"{shown} is not a workflow: decorate the class with @workflow.defn and its method with @workflow.run"
            )
        if isinstance(target, type) and found.cls is not target:
            raise TypeError(f"{shown} inherits from a workflow but is none itself: decorate it with @workflow.defn too")
        return found

    @staticmethod
    def name_of(target: object) -> str:
        """The workflow type of a name, a workflow class or its run method. Errors as for `of`, and for a dynamic workflow."""
        if isinstance(target, str):
            return target
        definition = WorkflowDefinition.of(target)
        if definition.name is None:
            raise TypeError("a dynamic workflow has no name of its own: start it by the name that it shall take")
        return definition.name

    def make(self, args: Sequence[Any]) -> Any:
        """Make the object that one run works on; None for a bare function."""
        if self.cls is None:
            return None
        return self.cls(*args) if self.init_takes_input else self.cls()


class _ClassReader:
    """Collects what a workflow class defines, and everything that is wrong with it."""

    def __init__(self, workflow_class: type[Any]) -> None:
        self.cls = workflow_class
        self.signals: dict[str | None, HandlerDefinition] = {}
        self.queries: dict[str | None, HandlerDefinition] = {}
        self.issues: list[str] = []

    def read(self) -> Callable[..., Awaitable[Any]]:
        runs: list[Any] = []
        for attribute, member in inspect.getmembers(self.cls):
            if hasattr(member, RUN_MARK):
                if attribute in vars(self.cls):
                    runs.append(member)
                else:
                    self.issues.append(f"its @workflow.run method {attribute} is inherited: define it on the class itself")
            self._collect(attribute, member, SIGNAL_MARK, self.signals, "signal")
            self._collect(attribute, member, QUERY_MARK, self.queries, "query")
        self._check_overrides()
        if len(runs) > 1:
            self.issues.append(f"it has {len(runs)} @workflow.run methods: {', '.join(run.__name__ for run in runs)}")
        elif not runs and not self.issues:
            self.issues.append("it has no @workflow.run method")
        init = self.cls.__init__
        if len(runs) == 1 and hasattr(init, INIT_MARK) and not same_parameters(init, runs[0]):
            self.issues.append("the parameters of its @workflow.init and @workflow.run methods differ")
        if self.issues:
            raise TypeError(f"workflow class {self.cls.__qualname__}: {'; '.join(self.issues)}")
        return cast("Callable[..., Awaitable[Any]]", runs[0])

    def _collect(self, attribute: str, member: Any, mark: str, into: dict[str | None, HandlerDefinition], role: str) -> None:
        definition: HandlerDefinition | None = getattr(member, mark, None)
        if definition is None:
            return
        other = into.setdefault(definition.name, definition)
        if other is not definition:
            shown = f"{role} {definition.name!r}" if definition.name is not None else f"dynamic {role}"
            self.issues.append(f"{attribute} and {other.fn.__name__} both handle the {shown}")

    def _check_overrides(self) -> None:
        for base in self.cls.__mro__[1:]:
            for attribute, member in vars(base).items():
                for mark in (RUN_MARK, SIGNAL_MARK, QUERY_MARK):
                    if hasattr(member, mark) and not hasattr(getattr(self.cls, attribute, None), mark):
                        kind = mark.strip("_").removeprefix("flowkernel_")
                        self.issues.append(
                            f"{attribute} overrides a @workflow.{kind} method of {base.__qualname__}: decorate it too"
                        )


@dataclasses.dataclass(frozen=True)
class ActivityDefinition:
    """An activity's code and how to call it.

    Attributes:
        name: the activity type; None for the one that takes every type without a definition of its own.
        fn: the function itself, not what ``@activity.defn`` put around it.
        is_async: it is a coroutine function, so it runs on the worker's loop.
        arg_types: what payloads are read as; None reads them untyped.
        ret_type: what its result is read as by workflows.
        no_thread_cancel_exception: cancellation is not raised into its thread.
        options: defaults given to ``@activity.defn``.
        in_process: it runs in a process of its own.
    """

    name: str | None
    fn: Callable[..., Any]
    is_async: bool
    arg_types: Sequence[Any] | None = None
    ret_type: Any = None
    no_thread_cancel_exception: bool = False
    options: ActivityOptions = NO_OPTIONS
    in_process: bool = False

    @property
    def dynamic(self) -> bool:
        """Whether it takes every activity type that has no definition of its own."""
        return self.name is None

    @classmethod
    def make(
        cls,
        fn: Callable[..., Any],
        *,
        name: str | None = None,
        dynamic: bool = False,
        no_thread_cancel_exception: bool = False,
        options: ActivityOptions = NO_OPTIONS,
    ) -> ActivityDefinition:
        """Read a function's signature.

        Raises:
            TypeError: it cannot be called with positional arguments alone, or is no proper dynamic activity.
            ValueError: both a name and ``dynamic``.
        """
        if dynamic and name is not None:
            raise ValueError(f"activity {name!r} is given a name and dynamic=True: a dynamic activity takes every name")
        require_positional(fn, "activity")
        arg_types, ret_type = type_hints(fn)
        if dynamic:
            require_dynamic_run(fn, arg_types)
        call = fn if inspect.isroutine(fn) else type(fn).__call__
        own_name = str(getattr(fn, "__name__", type(fn).__name__))
        return cls(
            name=None if dynamic else name or own_name,
            fn=fn,
            is_async=inspect.iscoroutinefunction(call),
            arg_types=arg_types,
            ret_type=ret_type,
            no_thread_cancel_exception=no_thread_cancel_exception,
            options=options,
        )

    @staticmethod
    def of(target: object) -> ActivityDefinition:
        """The definition that ``@activity.defn`` left on a function, method or callable object; bound if the method is.

        Raises:
            TypeError: there is none.
        """
        found: ActivityDefinition | None = getattr(target, ACTIVITY_MARK, None)
        if found is None:
            call = getattr(type(target), "__call__", None)  # noqa: B004 - its mark is wanted, not whether it exists
            found = getattr(call, ACTIVITY_MARK, None)
            if found is None:
                shown = getattr(target, "__qualname__", None) or type(target).__qualname__
                raise TypeError(f"{shown} is not an activity: decorate it with @activity.defn")
            return dataclasses.replace(found, fn=found.fn.__get__(target))
        owner = getattr(target, "__self__", None)
        if owner is not None and inspect.isfunction(found.fn):
            return dataclasses.replace(found, fn=found.fn.__get__(owner))
        return found

    @staticmethod
    def name_of(target: object) -> str:
        """The activity type of a name or a decorated function. Errors as for `of`, and for a dynamic activity."""
        if isinstance(target, str):
            return target
        definition = ActivityDefinition.of(target)
        if definition.name is None:
            raise TypeError("a dynamic activity has no name of its own: call it by the name that it shall take")
        return definition.name
