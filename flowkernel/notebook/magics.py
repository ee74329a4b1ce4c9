"""``%%workflow`` and ``%workflow``: what a cell's author types, carried out."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, cast

from IPython.core.magic import Magics, line_cell_magic, magics_class, no_var_expand

from flowkernel.model.errors import FlowkernelError
from flowkernel.notebook.cell import CellProgram, CellSource, capture, compile_cell, compile_class_cell, is_class_cell, parse_cell
from flowkernel.notebook.cell_options import CELL_COMMAND, CellOptions, cell_parser, parse_cell_options
from flowkernel.notebook.commands import run_command
from flowkernel.notebook.errors import UsageError, shortened
from flowkernel.notebook.options import HelpShown, split_words

if TYPE_CHECKING:
    import ast

    from flowkernel.common import Payload
    from flowkernel.model.events import Event
    from flowkernel.model.requests import DescribeWorkflowExecutionResponse
    from flowkernel.notebook.extension import Extension
    from flowkernel.notebook.handle import CellHandle
    from flowkernel.replay.definitions import WorkflowDefinition

__all__ = ["WorkflowMagics"]

_untyped_magic = cast("Callable[[Callable[..., Any]], Callable[..., Any]]", line_cell_magic)
_unexpanded = cast("Callable[[Callable[..., Any]], Callable[..., Any]]", no_var_expand)


@cast("Callable[[type[Any]], type[Any]]", magics_class)
class WorkflowMagics(Magics):
    """The two magics of one shell."""

    def __init__(self, shell: Any, extension: Extension) -> None:
        super().__init__(shell)
        self._extension = extension

    @_unexpanded
    @_untyped_magic
    def workflow(self, line: str, cell: str | None = None) -> Any:
        """Make a cell a durable workflow (%%workflow), or look at executions and steer them (%workflow).

        ``%workflow --help`` lists the subcommands, ``%%workflow --help`` the options of a cell.
        """
        try:
            if cell is None:
                words = split_words(line)
                return run_command(LineContext(self._extension, quiet=words.quiet), words.words)
            return CellRun(self._extension, line, cell).run()
        except HelpShown as shown:
            print(shown.text)  # noqa: T201 (help belongs into the cell's output)
            return None
        except FlowkernelError as error:
            raise shortened(error) from error.__cause__


class LineContext:
    """What the subcommands need, from the extension of one shell."""

    def __init__(self, extension: Extension, *, quiet: bool) -> None:
        self._extension = extension
        self._quiet = quiet

    @property
    def names(self) -> Mapping[str, object]:
        """The notebook's variables."""
        return self._extension.names

    def describe(self, name: str, run_id: str = "") -> DescribeWorkflowExecutionResponse:
        """Find an execution by id, or by the NAME of a cell."""
        return self._extension.session.find(name, self._extension.notebook.stem, run_id)

    def handle(self, name: str, run_id: str = "") -> CellHandle:
        """Follow such an execution."""
        return self._extension.handle(self.describe(name, run_id).run)

    def open_handles(self) -> Iterable[CellHandle]:
        """Executions of this kernel that are open."""
        handles = [self._extension.handle(run) for run in self._extension.publisher.board.runs()]
        return [handle for handle in handles if handle.timeline.is_open]

    def history(self, name: str, run_id: str = "") -> tuple[Event, ...]:
        """The events of an execution."""
        run = self.describe(name, run_id).run
        return self._extension.session.history(run.workflow_id, run.run_id).events

    def executions(self, **narrowed: Any) -> tuple[Any, ...]:
        """List executions."""
        return self._extension.session.list_executions(**narrowed)

    def say(self, text: str) -> None:
        """Print, unless the line ended with a semicolon."""
        if not self._quiet:
            print(text)  # noqa: T201 (the cell's output)


class CellRun:
    """One run of a ``%%workflow`` cell: from its text to a started execution."""

    def __init__(self, extension: Extension, line: str, body: str) -> None:
        self._extension = extension
        self._shell = extension.shell
        self._line = line
        words = split_words(line, CELL_COMMAND)
        self._quiet = words.quiet
        if "--help" in words.words or "-h" in words.words:
            raise HelpShown(cell_parser().format_help())
        self._source = self._cell_source(body)
        self._options: CellOptions | None = None
        self._words = words.words

    def _cell_source(self, body: str) -> CellSource:
        """Find the body in the cell that its author sees; a body from elsewhere gets a cell of its own."""
        raw = self._extension.raw_cell
        lines = raw.splitlines()
        first = next((index for index, text in enumerate(lines) if text.strip()), 0)
        if not (
            lines[first : first + 1] and lines[first].startswith("%%workflow") and raw.rstrip("\n").endswith(body.rstrip("\n"))
        ):
            raw, first = f"%%workflow {self._line}\n{body}", 0
        # Commented out, the magic's line keeps its place and the whole parses as Python, which traceback tools like.
        shown = "\n".join(f"# {text}" if index == first else text for index, text in enumerate(raw.splitlines()))
        filename = self._shell.compile.cache(shown, self._extension.cell_number, raw_code=raw)
        place = self._extension.place_of(filename) or "Cell"
        return CellSource(body, filename, place, first + 2)

    def run(self) -> Any:
        """Do what the cell asks for; returns the result if it was to be waited for."""
        flags = self._shell.compile.flags
        tree = parse_cell(self._source, flags)
        if is_class_cell(tree):
            return self._run_class(tree, flags)
        options = parse_cell_options(self._words, self._extension.names)
        if options.inputs or options.start:
            given = "--input" if options.inputs else "--start"
            hint = "A cell of statements starts by itself, and reads its input from the notebook's variables."
            raise UsageError(f"{given} is for a cell that defines a workflow class", command=CELL_COMMAND, hint=hint)
        return self._run_statements(compile_cell(self._source, tree, flags), options)

    # --- the cell is the workflow -----------------------------------------------------------------------------------

    def _run_statements(self, program: CellProgram, options: CellOptions) -> Any:
        from flowkernel.notebook.definition import cell_definition, named_payloads  # noqa: PLC0415 (imports replay)

        extension = self._extension
        if not program.normalised:
            raise UsageError("the cell is empty", command=CELL_COMMAND, hint="Write the workflow's code below the magic.")
        name = options.name or self._unnamed()
        if any(read.name == name for read in program.reads):
            hint = "Its handle would replace the variable; choose another NAME."
            raise UsageError(f"NAME {name!r} is a variable that the cell itself reads", command=CELL_COMMAND, hint=hint)
        captured = capture(program, extension.names)
        extension.registry.scan(extension.names)
        converter = extension.session.client.data_converter.payload_converter
        payloads = named_payloads(captured.data, converter)
        for value in captured.references.values():
            extension.registry.add_reachable(value)
        definition = cell_definition(
            name,
            program,
            captured,
            activity_defaults=options.activity_options(),
            describe_line=extension.describe_line,
        )
        extension.registry.add_workflow(definition)
        return self._start(name, name, payloads, options)

    def _unnamed(self) -> str:
        # The cell's id survives a restart, so that a run of an unnamed cell is found again.
        ident = self._extension.cell_id or hashlib.sha256(self._source.body.encode()).hexdigest()
        return f"cell-{ident[:8]}"

    # --- the cell defines a workflow --------------------------------------------------------------------------------

    def _run_class(self, tree: ast.Module, flags: int) -> Any:
        extension = self._extension
        self._execute(tree, flags)
        options = parse_cell_options(self._words, extension.names)
        extension.registry.scan(extension.names)
        definitions = [definition for definition in self._defined(tree) if definition is not None]
        overrides = options.start_to_close or options.schedule_to_close or options.retry or options.heartbeat
        if overrides:
            defaults = options.activity_options()
            definitions = [
                dataclasses.replace(one, activity_defaults=defaults, describe_line=extension.describe_line) for one in definitions
            ]
            for definition in definitions:
                extension.registry.add_workflow(definition)
        if not options.starts_class:
            if not self._quiet:
                print(f"registered: {', '.join(str(definition.name) for definition in definitions)}")  # noqa: T201
            return None
        definition = self._chosen(definitions, options)
        converter = extension.session.client.data_converter.payload_converter
        payloads = tuple(converter.to_payloads(options.inputs))
        kind = str(definition.name)
        return self._start(kind, options.name or kind, payloads, options)

    def _execute(self, tree: ast.Module, flags: int) -> None:
        code = compile_class_cell(self._source, tree, flags)
        try:
            exec(code, self._shell.user_ns)  # noqa: S102 (the author's own cell)
        except Exception as error:  # noqa: BLE001 (whatever it raises is shown)
            # Only the cell's own frames say anything to its author.
            frames = error.__traceback__.tb_next if error.__traceback__ is not None else None
            trace = self._shell.InteractiveTB.structured_traceback(type(error), error, frames)
            raise shortened(error, trace) from error.__cause__

    def _defined(self, tree: ast.Module) -> list[WorkflowDefinition | None]:
        from flowkernel.notebook.registration import workflow_in  # noqa: PLC0415 (imports replay)

        names = [getattr(node, "name", None) for node in tree.body]
        return [workflow_in(self._shell.user_ns.get(name)) for name in names if isinstance(name, str)]

    def _chosen(self, definitions: list[WorkflowDefinition], options: CellOptions) -> WorkflowDefinition:
        if options.name in self._shell.user_ns and any(getattr(one.cls, "__name__", "") == options.name for one in definitions):
            hint = "Its handle would replace the class; choose another NAME, for example in lower case."
            raise UsageError(f"NAME {options.name!r} is the workflow class itself", command=CELL_COMMAND, hint=hint)
        if len(definitions) != 1:
            raise UsageError(
                f"the cell defines {len(definitions)} workflows",
                command=CELL_COMMAND,
                hint="Start one per cell, or use the client.",
            )
        return definitions[0]

    # --- starting ---------------------------------------------------------------------------------------------------

    def _start(self, workflow_type: str, name: str, payloads: tuple[Payload, ...], options: CellOptions) -> Any:
        from flowkernel.notebook.definition import changed_inputs  # noqa: PLC0415 (imports replay)
        from flowkernel.notebook.session import StartOptions  # noqa: PLC0415 (imports DuckDB)

        extension = self._extension
        start = StartOptions(
            workflow_id=options.workflow_id or f"{extension.notebook.stem}/{name}",
            task_queue=options.task_queue or extension.settings.task_queue,
            execution_timeout=options.execution_timeout,
            run_timeout=options.run_timeout,
            task_timeout=options.task_timeout,
            memo=options.memo,
            new=options.new,
        )
        started = extension.session.start(workflow_type, payloads, start)
        handle = extension.handle(started.run)
        if options.name is not None:
            self._shell.user_ns[options.name] = handle
        if not self._quiet:
            handle.show()
        if started.attached:
            self._tell_attached(handle, changed_inputs(started.input, payloads) if started.input != payloads else [])
        return handle.wait() if options.wait else None

    def _tell_attached(self, handle: CellHandle, changed: list[str]) -> None:
        if changed and not self._quiet:
            print(  # noqa: T201 (the cell's output)
                f"Attached to the open execution {handle.id}, which was started with other values of {', '.join(changed)}. "
                f"To start anew with the present ones: %%workflow --new"
            )
