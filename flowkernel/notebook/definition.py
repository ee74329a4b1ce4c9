"""A compiled cell as a workflow definition, and what it read as payloads.

Each captured value is one payload, and its metadata says under which name the cell read it. So a run finds its input by name,
also when the cell was edited meanwhile and now reads other names than when the run was started.
"""

from __future__ import annotations

import builtins
from collections.abc import Callable, Mapping
from typing import Any, cast

from flowkernel.common import Payload, RawValue
from flowkernel.converter import PayloadConverter
from flowkernel.model.errors import FlowkernelError
from flowkernel.notebook.cell import Captured, CellProgram, type_hint
from flowkernel.notebook.errors import InputError
from flowkernel.replay.current import current
from flowkernel.replay.definitions import WorkflowDefinition
from flowkernel.replay.options import ActivityOptions
from flowkernel.replay.sources import DescribeLine

__all__ = ["NAME_KEY", "InputNotRecorded", "cell_definition", "changed_inputs", "input_name", "named_payloads"]

NAME_KEY = "flowkernel-name"
"""Payload metadata: the notebook's name of a captured value."""


class InputNotRecorded(FlowkernelError):
    """The cell now reads a name that was not recorded when this run started. The run waits for code that does without."""

    def __init__(self, name: str, place: str, line: int) -> None:
        super().__init__(
            f"{name!r} ({place}, line {line}) was not among the inputs when this execution started. Give it a value in the "
            f"cell's body, or start a new execution with %%workflow --new"
        )
        self.name = name


def input_name(payload: Payload) -> str:
    """The name under which a payload was captured; empty if it was not."""
    return payload.metadata.get(NAME_KEY, b"").decode("utf-8", "replace")


def named_payloads(data: Mapping[str, object], converter: PayloadConverter) -> tuple[Payload, ...]:
    """Convert captured values.

    Raises:
        InputError: one cannot be converted; nothing was started.
    """
    payloads: list[Payload] = []
    for name, value in data.items():
        try:
            payload = converter.to_payload(value)
        except Exception as error:  # converters, and the objects themselves, raise what they like
            raise InputError(name, value, str(error)) from error
        payloads.append(Payload({**payload.metadata, NAME_KEY: name.encode()}, payload.data))
    return tuple(payloads)


def changed_inputs(recorded: tuple[Payload, ...], present: tuple[Payload, ...]) -> list[str]:
    """Names whose value in the notebook is another one than the run has recorded."""
    before = {input_name(payload): payload for payload in recorded}
    return [name for payload in present if before.get(name := input_name(payload)) != payload]


def cell_definition(
    name: str,
    program: CellProgram,
    captured: Captured,
    *,
    activity_defaults: ActivityOptions,
    describe_line: DescribeLine,
) -> WorkflowDefinition:
    """Make a workflow of a statement cell.

    Args:
        name: the workflow type.
        program: the compiled body.
        captured: what it took from the notebook; references are used, data only for its types.
        activity_defaults: for activities that say nothing themselves.
        describe_line: names cell and line in messages.
    """
    references = dict(captured.references)
    hints = {key: type_hint(value) for key, value in captured.data.items()}

    async def run(*_payloads: RawValue) -> Any:
        return await program.run(references, _recorded_values(program, references, hints))

    run.__name__ = run.__qualname__ = name
    run.__module__ = "__main__"
    return WorkflowDefinition.of_function(
        run,
        name=name,
        arg_types=[RawValue] * len(captured.data),
        activity_defaults=activity_defaults,
        describe_line=describe_line,
        source=program.versioned_source(references),
    )


def _recorded_values(program: CellProgram, references: Mapping[str, object], hints: Mapping[str, Any]) -> dict[str, Any]:
    runtime = current()
    recorded = {input_name(payload): payload for payload in (runtime.started.input if runtime.started is not None else ())}
    convert = cast("Callable[[Payload, Any], Any]", runtime.converter.payload_converter.from_payload)
    values: dict[str, Any] = {}
    for read in program.reads:
        if read.name in references:
            continue
        if read.name in recorded:
            values[read.name] = convert(recorded[read.name], hints.get(read.name))
        elif read.required and not hasattr(builtins, read.name):
            raise InputNotRecorded(read.name, program.source.place, read.line)
    return values
