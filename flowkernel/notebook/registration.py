"""Workflows and activities that the notebook defines, found among its variables."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

from flowkernel.notebook.cell_options import default_activity_options
from flowkernel.replay.definitions import ACTIVITY_MARK, WORKFLOW_MARK, ActivityDefinition, WorkflowDefinition
from flowkernel.replay.options import NO_OPTIONS
from flowkernel.replay.sources import DescribeLine, plain_line

__all__ = ["Registry", "activities_in", "is_activity", "workflow_in"]

_PLAIN = (str, int, float, bool, bytes, list, dict, tuple, set, type(None))


def workflow_in(value: object) -> WorkflowDefinition | None:
    """The definition that ``@workflow.defn`` left on this very class."""
    found = vars(value).get(WORKFLOW_MARK) if isinstance(value, type) else None
    return found if isinstance(found, WorkflowDefinition) and found.cls is value else None


def is_activity(value: object) -> bool:
    """Whether ``@activity.defn`` decorated this function, method or callable object."""
    if isinstance(value, _PLAIN):
        return False
    # Not getattr on the value itself: objects that answer to every name would pass for activities.
    own: object = getattr(value, "__dict__", None)
    mark: object = cast("Mapping[str, object]", own).get(ACTIVITY_MARK) if isinstance(own, Mapping) else None
    if mark is None and isinstance(value, types.MethodType):
        mark = vars(value.__func__).get(ACTIVITY_MARK)
    if mark is None and not isinstance(value, type):
        mark = getattr(getattr(type(value), "__call__", None), ACTIVITY_MARK, None)  # noqa: B004 (the mark, not callability)
    return isinstance(mark, ActivityDefinition)


def activities_in(value: object) -> Iterator[Callable[..., Any]]:
    """The activities that code can reach by this value: itself, a module's functions, an object's methods."""
    if isinstance(value, _PLAIN):
        return
    if is_activity(value):
        yield cast("Callable[..., Any]", value)
    elif isinstance(value, types.ModuleType):
        yield from (member for member in list(vars(value).values()) if is_activity(member))
    elif not isinstance(value, type):
        for kind in type(value).__mro__[:-1]:
            for name, member in vars(kind).items():
                if isinstance(member, types.FunctionType) and is_activity(member):
                    yield getattr(value, name)


class Registry:
    """What this notebook has defined so far, by name. The latest definition of a name counts.

    Args:
        describe_line: names cell and line in messages about workflow classes.
    """

    def __init__(self, describe_line: DescribeLine = plain_line) -> None:
        self._describe_line = describe_line
        self.workflows: dict[str, WorkflowDefinition] = {}
        self.activities: dict[str, Callable[..., Any]] = {}
        self._seen: dict[str, object] = {}
        self._on_workflow: list[Callable[[WorkflowDefinition], None]] = []
        self._on_activity: list[Callable[[Callable[..., Any]], None]] = []

    def follow(
        self, on_workflow: Callable[[WorkflowDefinition], None], on_activity: Callable[[Callable[..., Any]], None]
    ) -> Callable[[], None]:
        """Hand everything registered, now and later, to a worker. Returns the call that ends it."""
        for fn in self.activities.values():
            on_activity(fn)
        for definition in self.workflows.values():
            on_workflow(definition)
        self._on_workflow.append(on_workflow)
        self._on_activity.append(on_activity)

        def leave() -> None:
            self._on_workflow.remove(on_workflow)
            self._on_activity.remove(on_activity)

        return leave

    def add_workflow(self, definition: WorkflowDefinition) -> None:
        """Register a workflow. Replacing one wakes its suspended executions."""
        name = definition.name
        if name is None or self.workflows.get(name) is definition:
            return
        self.workflows[name] = definition
        for tell in self._on_workflow:
            tell(definition)

    def _in_notebook(self, definition: WorkflowDefinition) -> WorkflowDefinition:
        """Give a class what a notebook gives: a limit for activities that have none, and lines of cells in messages."""
        defaults = definition.activity_defaults
        if defaults is NO_OPTIONS:
            defaults = default_activity_options()
        return dataclasses.replace(definition, activity_defaults=defaults, describe_line=self._describe_line)

    def add_activity(self, fn: Callable[..., Any]) -> None:
        """Register an activity."""
        name = ActivityDefinition.of(fn).name
        if name is None or self.activities.get(name) == fn:
            return
        self.activities[name] = fn
        for tell in self._on_activity:
            tell(fn)

    def add_reachable(self, value: object) -> None:
        """Register the activities that code can reach by this value."""
        for fn in activities_in(value):
            self.add_activity(fn)

    def scan(self, names: Mapping[str, object]) -> None:
        """Register what the notebook's variables hold, as far as they have changed since the last scan."""
        for name, value in list(names.items()):
            if name.startswith("_") or isinstance(value, _PLAIN) or self._seen.get(name) is value:
                continue
            self._seen[name] = value
            definition = workflow_in(value)
            if definition is not None:
                self.add_workflow(self._in_notebook(definition))
            elif not isinstance(value, types.ModuleType):
                self.add_reachable(value)
        for name in [name for name in self._seen if name not in names]:
            del self._seen[name]
