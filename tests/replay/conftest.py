from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from flowkernel.converter import DataConverter
from flowkernel.model.commands import Command
from flowkernel.replay.definitions import WorkflowDefinition
from flowkernel.replay.instance import WorkflowInstance
from flowkernel.testing.histories import HistoryBuilder


class Driver:
    """Plays the service for one run: writes its history, and keeps one live instance that answers."""

    def __init__(self, workflow: Any, *args: Any, **options: Any) -> None:
        started = options.pop("started", {})
        definition_options = options.pop("definition", {})
        if isinstance(workflow, WorkflowDefinition):
            self.definition = workflow
        elif isinstance(workflow, type):
            self.definition = WorkflowDefinition.of(workflow)
        else:
            self.definition = WorkflowDefinition.of_function(workflow, **definition_options)
        self.options = options
        self.history = HistoryBuilder(self.definition.name or "dynamic", *args, **started)
        self.reports: list[tuple[str, BaseException | None]] = []
        self.failed = False
        self.instance = self.make()

    def make(self) -> WorkflowInstance:
        return WorkflowInstance(
            self.definition,
            self.history.run,
            DataConverter.default,
            report=lambda message, error: self.reports.append((message, error)),
            **self.options,
        )

    def task(self) -> tuple[Command, ...]:
        """A workflow task: scheduled, answered by the live instance, and its commands recorded."""
        self.history.task()
        try:
            commands = self.instance.activate(self.history.since(self.instance.last_event_id))
        except BaseException:
            self.failed = True
            raise
        self.history.commands(commands)
        return commands

    def value(self, commands: tuple[Command, ...]) -> Any:
        """The result in a single CompleteWorkflowExecution."""
        (command,) = commands
        (result,) = DataConverter.default.payload_converter.from_payloads(command.result)  # type: ignore[union-attr]
        return result

    def ask(self, query: str, *args: Any) -> Any:
        converter = DataConverter.default.payload_converter
        (result,) = converter.from_payloads(self.instance.query(query, tuple(converter.to_payloads(args))))
        return result

    def replay(self) -> WorkflowInstance:
        """A new instance that has seen the whole history."""
        instance = self.make()
        assert instance.activate(self.history.events, answer=False) == ()
        return instance


@pytest.fixture
def drive() -> Iterator[Callable[..., Driver]]:
    """Make drivers. At the end of the test every history that went well is replayed, and everything is evicted."""
    drivers: list[Driver] = []

    def make(workflow: Any, *args: Any, **options: Any) -> Driver:
        drivers.append(Driver(workflow, *args, **options))
        return drivers[-1]

    yield make
    for driver in drivers:
        if not driver.failed:
            driver.replay().evict()
        driver.instance.evict()
