"""Runs a notebook from top to bottom without a browser.

What must hold whatever happens: the executed notebook is on disk, whole, with everything that was shown so far. So it is saved
before and after each cell, every few seconds in between, and once more at the end, each time under another name first and
renamed only when complete.

A signal does not tear the run down from inside: it stops the kernel, and the run ends as it ends whenever its kernel is gone.
That leaves one way out, which saves and reports.
"""

from __future__ import annotations

import asyncio
import contextlib
import platform
import signal
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat import NotebookNode

from flowkernel.headless.cells import cell_title, describe_error, is_run
from flowkernel.headless.executions import SETTLE, Executions
from flowkernel.headless.files import default_output, read_notebook, save_notebook
from flowkernel.headless.kernel import HeadlessKernel
from flowkernel.headless.outputs import KernelAnswerError, OutputKeepingClient
from flowkernel.headless.progress import Progress
from flowkernel.headless.report import CellReport, CellStatus, Problem, RunReport

__all__ = ["NotebookRun", "run_notebook"]

_TICK = 2.0
_STARTUP_TIMEOUT = 60
_LAST_LOOK_LIMIT = 10.0


def run_notebook(
    path: str | Path,
    output: str | Path | None = None,
    *,
    cell_timeout: int | None = None,
    wait_timeout: float | None = None,
    progress: Progress | None = None,
) -> RunReport:
    """Run a notebook headlessly and wait for the workflow executions that it starts.

    The kernel is the running interpreter; its working directory is the notebook's folder. A cell that fails ends the run, unless
    it is tagged ``raises-exception``; executions that are then open stay recorded and go on when the notebook is run again.

    Args:
        path: the notebook; it is not changed.
        output: where to save the executed notebook; ``<name>.out.ipynb`` beside the notebook if None.
        cell_timeout: seconds that one cell may take; None for no limit.
        wait_timeout: seconds to wait, after the last cell, for executions to close; None for no limit. A suspended execution is
            not waited for, since only new code helps it.
        progress: is told how it goes; None for silence.
    Returns:
        What happened; failures of cells and executions are in it, not raised.
    Raises:
        OSError: the notebook cannot be read, or the output not be written.
        NotebookError: the file is no notebook, or one for another language than Python.
    Durable: the output is saved before and after each cell, and every 2 s.
    """
    run = NotebookRun(path, output, cell_timeout=cell_timeout, wait_timeout=wait_timeout, progress=progress)
    return asyncio.run(run.run())


class NotebookRun:
    """One headless run. `run_notebook` is the short form; this one is for callers with an event loop of their own."""

    def __init__(
        self,
        path: str | Path,
        output: str | Path | None = None,
        *,
        cell_timeout: int | None = None,
        wait_timeout: float | None = None,
        progress: Progress | None = None,
    ) -> None:
        self.source = Path(path).resolve()
        self.output = Path(output).resolve() if output is not None else default_output(self.source)
        self._wait_timeout = wait_timeout
        self._progress = progress or Progress()
        self._notebook = read_notebook(self.source)
        self._kernel = HeadlessKernel(self.source)
        self._client = OutputKeepingClient(
            self._notebook, self._kernel.manager, cell_timeout=cell_timeout, startup_timeout=_STARTUP_TIMEOUT
        )
        self._executions = Executions()
        self._cells: list[CellReport] = []
        self._unsaved = True
        self._signal: signal.Signals | None = None
        self._stopping: asyncio.Task[None] | None = None

    async def run(self) -> RunReport:
        """Run it. See `run_notebook`."""
        begin = time.monotonic()
        self._client.changed = self._note_change
        self._client.shown = self._executions.show
        self._executions.changed = self._progress.execution
        ticking = asyncio.ensure_future(self._tick())
        try:
            self._save()
            with self._signals():
                problem = await self._all_cells()
                if self._stopping is not None:
                    await asyncio.wait({self._stopping})
                await self._kernel.stop()
        finally:
            ticking.cancel()
            await self._shut_down()
            self._save()
            self._progress.end()
        return RunReport(self.source, self.output, tuple(self._cells), self._executions.all(), problem, time.monotonic() - begin)

    async def _all_cells(self) -> Problem | None:
        cells = self._notebook.cells
        chosen = [index for index, cell in enumerate(cells) if is_run(cell)]
        try:
            await self._kernel.start()
            await self._client.async_start_new_kernel_client()
        except RuntimeError as error:
            return self._stopped() or Problem(
                f"the kernel {await self._kernel.ending()} as it started", self._last_words() or str(error)
            )
        self._progress.begin(self.source.name, len(chosen), f"Python {platform.python_version()}")
        for number, index in enumerate(chosen, 1):
            title = cell_title(cells, index)
            self._progress.cell_begin(number, title)
            begin = time.monotonic()
            problem = await self._one_cell(cells[index], index, f"cell {number} of {len(chosen)} ({title})")
            allowed = "raises-exception" in cells[index].metadata.get("tags", ())
            status = CellStatus.FAILED if problem else CellStatus.OK
            if problem is None and allowed and any(output.output_type == "error" for output in cells[index].outputs):
                status = CellStatus.EXPECTED
            report = CellReport(number, index, title, status, time.monotonic() - begin)
            self._cells.append(report)
            self._save()
            self._progress.cell_end(report)
            if problem is not None:
                await self._last_look()
                return problem
        return await self._settle()

    async def _one_cell(self, cell: NotebookNode, index: int, place: str) -> Problem | None:
        self._save()
        try:
            await self._client.async_execute_cell(cell, index, execution_count=self._client.code_cells_executed + 1)
        except CellExecutionError as error:
            if stopped := self._stopped(place):
                return stopped
            shown = [output for output in cell.outputs if output.output_type == "error"]
            traceback: list[str] = list(shown[-1].traceback) if shown else []
            return Problem(f"{place} failed", describe_error(cell, error.ename, error.evalue, traceback))
        except CellTimeoutError:
            await self._kernel.interrupt()
            return Problem(f"{place} took longer than the {self._client.timeout} s that a cell may take")
        except DeadKernelError:
            return self._stopped(place) or await self._died(f"in {place}")
        return None

    async def _last_look(self) -> None:
        """After a failure: what was started is recorded and need not be waited for, but the displays shall be up to date."""
        with contextlib.suppress(KernelAnswerError, DeadKernelError):
            self._executions.list(await self._client.ask(SETTLE.format(timeout=0), _LAST_LOOK_LIMIT))

    async def _settle(self) -> Problem | None:
        """Wait for the executions that the kernel started, and let it bring their displays up to date."""
        if self._executions.open():
            self._progress.wait(self._executions.open())
        try:
            self._executions.list(await self._client.ask(SETTLE.format(timeout=self._wait_timeout)))
        except KernelAnswerError as error:
            return Problem("could not wait for the notebook's workflow executions", str(error))
        except DeadKernelError:
            return self._stopped() or await self._died("after the last cell, waiting for workflow executions")
        return self._stopped()

    async def _died(self, where: str) -> Problem:
        return Problem(f"the kernel {await self._kernel.ending()} {where}", self._last_words())

    def _last_words(self) -> str:
        words = self._kernel.last_words()
        return f"its last words:\n{words}" if words else ""

    def _stopped(self, place: str = "") -> Problem | None:
        if self._signal is None:
            return None
        where = f" in {place}" if place else ""
        way_on = "Workflow executions that were open stay recorded: run the notebook again and they carry on."
        return Problem(f"stopped by {self._signal.name}{where}", way_on, 128 + self._signal)

    @contextlib.contextmanager
    def _signals(self) -> Generator[None]:
        """Let SIGINT and SIGTERM stop the kernel: the first one in order, a second one at once."""
        loop = asyncio.get_running_loop()

        def stop(number: signal.Signals) -> None:
            again, self._signal = self._signal is not None, number
            self._stopping = asyncio.ensure_future(self._kernel.stop(at_once=again))

        installed: list[signal.Signals] = []
        # Only the main thread may; elsewhere signals are the caller's affair.
        with contextlib.suppress(RuntimeError, ValueError, NotImplementedError):
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.add_signal_handler(number, stop, number)
                installed.append(number)
        try:
            yield
        finally:
            for number in installed:
                loop.remove_signal_handler(number)

    async def _shut_down(self) -> None:
        with contextlib.suppress(RuntimeError):
            await self._kernel.stop(at_once=True)
        if self._client.kc is not None:
            kernel_client: Any = self._client.kc
            kernel_client.stop_channels()
        await self._kernel.manager.cleanup_resources()
        self._kernel.close()

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(_TICK)
            self._progress.tick()
            if self._unsaved:
                # A disk that is full now is reported by the save after the cell, if it still is.
                with contextlib.suppress(OSError):
                    self._save()

    def _note_change(self) -> None:
        self._unsaved = True

    def _save(self) -> None:
        save_notebook(self._notebook, self.output)
        self._unsaved = False
