"""The extension of one shell: what it hooks into, when the database opens, and that nothing stays behind.

Loading is cheap, because many notebooks load more than they use: DuckDB is imported and the file opened when something first
needs them. From then on the kernel has a service, workers and a publisher until it ends or the extension is unloaded.
"""

from __future__ import annotations

import atexit
import json
import os
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowkernel.model.errors import StoreError
from flowkernel.notebook.cell_options import cell_parser
from flowkernel.notebook.completion import make_matcher
from flowkernel.notebook.errors import CommandError
from flowkernel.notebook.magics import WorkflowMagics
from flowkernel.notebook.settings import FlowKernel, NotebookName, database_path, notebook_name, prepare_folder

if TYPE_CHECKING:
    from flowkernel.model.ids import RunRef
    from flowkernel.notebook.handle import CellHandle
    from flowkernel.notebook.publisher import Publisher
    from flowkernel.notebook.registration import Registry
    from flowkernel.notebook.session import Session

__all__ = ["Extension", "active", "load", "unload"]

_active: Extension | None = None


def _after_fork() -> None:
    if _active is not None:
        _active.forked()


os.register_at_fork(after_in_child=_after_fork)


def _echo(text: str) -> None:
    sys.stdout.write(text)


def load(shell: Any) -> None:
    """Load the extension into a shell; does nothing if it is loaded."""
    global _active  # noqa: PLW0603 (a process has one shell, and the functions of `flowkernel.notebook` need it)
    if _active is None:
        _active = Extension(shell)


def unload(_shell: Any) -> None:
    """Take the extension out again; open executions carry on when the file is opened next."""
    global _active
    if _active is not None:
        extension, _active = _active, None
        extension.close()


def active() -> Extension:
    """The loaded extension.

    Raises:
        CommandError: none is loaded.
    """
    if _active is None:
        raise CommandError("flowkernel is not loaded in this kernel: run %load_ext flowkernel")
    return _active


class Extension:
    """Everything that `%load_ext flowkernel` adds to one shell."""

    def __init__(self, shell: Any) -> None:
        self.shell = shell
        self.settings = FlowKernel(parent=shell)
        self.raw_cell = ""
        self.cell_id = ""
        self.cell_number = 0
        self._session: Session | None = None
        self._registry: Registry | None = None
        self._publisher: Publisher | None = None
        self._in_child = False
        self._magics = WorkflowMagics(shell, self)
        self._matcher = make_matcher(self)
        shell.configurables.append(self.settings)
        shell.register_magics(self._magics)
        shell.Completer.custom_matchers.append(self._matcher)
        shell.events.register("pre_run_cell", self._before_cell)
        shell.events.register("post_run_cell", self._after_cell)
        atexit.register(self.stop)

    # --- what the notebook is ---------------------------------------------------------------------------------------

    @property
    def names(self) -> Mapping[str, object]:
        """The notebook's variables."""
        return self.shell.user_ns

    @property
    def notebook(self) -> NotebookName:
        """What is known of the notebook's file."""
        return notebook_name(self.shell.user_ns, os.environ)

    def place_of(self, filename: str) -> str | None:
        """What the author calls a file, for example ``Cell In[3]``; None for one that is no cell."""
        named = self.shell.compile.format_code_name(filename)
        return None if named is None else f"{named[0]} {named[1]}"

    def describe_line(self, filename: str, line: int) -> str:
        """A line in words."""
        return f"{self.place_of(filename) or filename}, line {line}"

    # --- what opens at first use ------------------------------------------------------------------------------------

    @property
    def registry(self) -> Registry:
        """Workflows and activities that the notebook defines."""
        if self._registry is None:
            # Imported late: loading the extension must not cost what only its use needs.
            from flowkernel.notebook.registration import Registry  # noqa: PLC0415

            self._registry = Registry(self.describe_line)
            self._registry.scan(self.shell.user_ns)
        return self._registry

    @property
    def publisher(self) -> Publisher:
        """Draws the timelines."""
        if self._publisher is None:
            from flowkernel.notebook.publisher import Publisher  # noqa: PLC0415 (as above)

            # A terminal cannot change what it has printed.
            self._publisher = Publisher(self._publish, live=hasattr(self.shell, "kernel"))
        return self._publisher

    @property
    def session(self) -> Session:
        """The open database; opened now if it is not yet.

        Raises:
            StoreError: it cannot be opened; the text says why and what to do.
            CommandError: this process is a fork of the kernel's.
        """
        if self._in_child:
            raise CommandError("flowkernel cannot be used in a forked child of the kernel: its database belongs to the parent")
        if self._session is None:
            from flowkernel.notebook.session import Session  # noqa: PLC0415 (as above: this one imports DuckDB)

            notebook = self.notebook
            database = database_path(self.settings.database, notebook, os.environ)
            try:
                prepare_folder(database)
            except OSError as error:
                way_out = "Choose another file with %config FlowKernel.database or FLOWKERNEL_DATABASE."
                raise StoreError(database, f"its folder cannot be made ({error.strerror})", way_out) from error
            self._session = Session(
                database,
                namespace=self.settings.namespace,
                owner=str(notebook.path or Path.cwd() / notebook.stem),
                registry=self.registry,
                publisher=self.publisher,
                echo=_echo if self.settings.echo == "cell" else None,
            )
            self._tell_found()
        return self._session

    def forked(self) -> None:
        """Let go of everything in a forked child: DuckDB and threads do not survive a fork, and touching them would hang."""
        self._in_child = True
        self._session = None

    def _tell_found(self) -> None:
        assert self._session is not None
        found = self._session.found_open
        if not found:
            return
        for queue in {info.task_queue for info in found}:
            self._session.worker(queue)
        names = ", ".join(sorted(info.run.workflow_id for info in found)[:5])
        more = f" and {len(found) - 5} more" if len(found) > 5 else ""
        count = f"{len(found)} execution{'' if len(found) == 1 else 's'}"
        verb, which = ("carries on", "It") if len(found) == 1 else ("carry on", "Each")
        print(f"{count} {verb}: {names}{more}. {which} waits until the cell that defines its workflow has run.")  # noqa: T201

    # --- executions -------------------------------------------------------------------------------------------------

    def handle(self, run: RunRef) -> CellHandle:
        """A handle of a run, which is followed from now on."""
        from flowkernel.notebook.handle import CellHandle  # noqa: PLC0415 (as above)

        session = self.session
        session.track(run)
        definition = self.registry.workflows.get(session.publisher.board.view(run, time.time_ns()).workflow_type)
        client_handle = session.client.get_workflow_handle(
            run.workflow_id, run_id=run.run_id, result_type=definition.ret_type if definition is not None else None
        )
        return CellHandle(session, client_handle, run, self.place_of)

    def _publish(self, bundle: Mapping[str, Any], display_id: str, update: bool) -> None:
        self.shell.display_pub.publish(data=dict(bundle), metadata={}, transient={"display_id": display_id}, update=update)

    def listing(self) -> str:
        """The executions that this kernel started or attached to, as JSON."""
        if self._session is None or self._publisher is None:
            return "[]"
        board, now = self._publisher.board, time.time_ns()
        timelines = [board.view(run, now) for run in board.runs()]
        return json.dumps(
            [
                {
                    "workflow_id": timeline.workflow_id,
                    "run_id": timeline.run_id,
                    "workflow_type": timeline.workflow_type,
                    "status": timeline.status,
                    "waiting": timeline.waiting,
                }
                for timeline in timelines
            ]
        )

    def settle(self, timeout: float | None) -> str:
        """Wait until no execution of this kernel can go on by itself, draw the timelines, and list them as JSON."""
        if self._publisher is not None and self._session is not None:
            board = self._publisher.board
            self._publisher.wait_until(lambda: board.settled(time.time_ns()), timeout)
            self._publisher.flush()
        return self.listing()

    # --- for completion ---------------------------------------------------------------------------------------------

    def workflow_ids(self) -> Iterable[str]:
        """Ids of the executions known to the open database; none while it is not open."""
        if self._session is None:
            return ()
        prefix = f"{self.notebook.stem}/"
        ids = {info.run.workflow_id for info in self._session.list_executions(limit=200)}
        return {*ids, *(one.removeprefix(prefix) for one in ids)}

    def handler_names(self, execution: str, kind: str) -> Iterable[str]:
        """Names of the handlers that an execution's class has."""
        if self._session is None or self._registry is None:
            return ()
        described = self._session.find(execution, self.notebook.stem)
        definition = self._registry.workflows.get(described.started.workflow_type)
        if definition is None:
            return ()
        handlers = definition.signals if kind == "signal" else definition.queries
        return [name for name in handlers if name is not None]

    def cell_options(self) -> Iterable[str]:
        """Options of the cell magic."""
        return cell_parser().option_names

    # --- hooks ------------------------------------------------------------------------------------------------------

    def _before_cell(self, info: Any) -> None:
        self.raw_cell = getattr(info, "raw_cell", None) or ""
        self.cell_id = getattr(info, "cell_id", None) or ""
        # A cell that is kept in the history has been counted by now.
        self.cell_number = self.shell.execution_count - bool(getattr(info, "store_history", False))

    def _after_cell(self, _result: Any) -> None:
        # Without the modules that define workflows nobody can have defined one.
        if self._registry is not None or "flowkernel.replay.definitions" in sys.modules:
            self.registry.scan(self.shell.user_ns)
        if self._publisher is not None:
            self._publisher.flush()

    def close(self) -> None:
        """Take everything out of the shell and stop all threads."""
        shell = self.shell
        shell.events.unregister("pre_run_cell", self._before_cell)
        shell.events.unregister("post_run_cell", self._after_cell)
        shell.Completer.custom_matchers.remove(self._matcher)
        # IPython adds the magics itself, and takes them out of nothing.
        shell.configurables[:] = [one for one in shell.configurables if one is not self.settings and one is not self._magics]
        for kind in ("line", "cell"):
            shell.magics_manager.magics[kind].pop("workflow", None)
        shell.magics_manager.registry.pop(type(self._magics).__name__, None)
        atexit.unregister(self.stop)
        self.stop()

    def stop(self) -> None:
        """Stop all threads and close the database, within about 1.5 s: a kernel that takes 2.5 s to exit is killed."""
        session, self._session = self._session, None
        publisher, self._publisher = self._publisher, None
        if session is not None:
            session.close()
        if publisher is not None:
            publisher.close()
