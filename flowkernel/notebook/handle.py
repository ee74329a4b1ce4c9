"""A handle of an execution, for cells: it can be awaited, waited for, and shows its timeline."""

from __future__ import annotations

import asyncio
import concurrent.futures
import time
import uuid
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from typing import Any

from flowkernel.client import WorkflowFailureError, WorkflowHandle
from flowkernel.model.ids import RunRef
from flowkernel.notebook.errors import AwaitDetached, Detached
from flowkernel.notebook.failed import PlaceOf, SuspendedError, WorkflowFailed
from flowkernel.notebook.session import Session
from flowkernel.timeline import Timeline, mimebundle

__all__ = ["CellHandle"]

_HEARTBEAT = 0.2
"""Seconds. An interrupt reaches code that awaits only when the event loop next wakes, so waiting wakes it."""


class CellHandle:
    """One run of a workflow, followed from a notebook.

    ``await handle`` gives the result, and so does ``handle.wait()`` in code that cannot await. Interrupting either stops the
    waiting, not the execution. As the last line of a cell it shows the live timeline.
    """

    def __init__(self, session: Session, handle: WorkflowHandle[Any], run: RunRef, place_of: PlaceOf) -> None:
        self._session = session
        self._handle = handle
        self._run = run
        self._place_of = place_of

    @property
    def id(self) -> str:
        """The workflow id."""
        return self._run.workflow_id

    @property
    def run_id(self) -> str:
        """The run that this handle means."""
        return self._run.run_id

    @property
    def workflow_handle(self) -> WorkflowHandle[Any]:
        """The client's own handle, as in a script."""
        return self._handle

    @property
    def timeline(self) -> Timeline:
        """The timeline as it is now."""
        return self._session.publisher.board.view(self._run, time.time_ns())

    @property
    def status(self) -> str:
        """Where the run stands, in a word."""
        return self.timeline.status

    def __await__(self) -> Generator[Any, None, Any]:
        return self.result().__await__()

    async def result(self) -> Any:
        """Wait for the result.

        Raises:
            WorkflowFailed: it ended in another way.
            SuspendedError: its code keeps failing, and this wait keeps the cell from being fixed.
            AwaitDetached: the wait was interrupted; the execution goes on.
        """
        future = self._session.submit(self._handle.result)
        waiting = asyncio.ensure_future(asyncio.wrap_future(future))
        try:
            while not waiting.done():
                await asyncio.wait({waiting}, timeout=_HEARTBEAT)
                self._give_up_if_suspended(waiting)
            return waiting.result()
        except WorkflowFailureError as error:
            raise self._told(error) from error.__cause__
        except asyncio.CancelledError:
            raise AwaitDetached(self.id) from None
        finally:
            waiting.cancel()

    def wait(self, timeout: float | None = None) -> Any:
        """Block until there is a result, and return it.

        Args:
            timeout: seconds; None for as long as it takes.
        Raises:
            TimeoutError: not done in time; the execution goes on.
            Detached: the wait was interrupted; the execution goes on.
            WorkflowFailed: it ended in another way.
            SuspendedError: as for `result`.
        """
        waiting = self._session.submit(self._handle.result)
        deadline = None if timeout is None else time.monotonic() + timeout
        try:
            while True:
                remaining = None if deadline is None else deadline - time.monotonic()
                done, _ = concurrent.futures.wait(
                    [waiting], min(_HEARTBEAT, max(0.0, _HEARTBEAT if remaining is None else remaining))
                )
                if done:
                    return waiting.result()
                if remaining is not None and remaining <= 0:
                    raise TimeoutError(f"{self.id} is not done after {timeout:.3g} s and goes on: {self.timeline.waiting}")
                self._give_up_if_suspended(waiting)
        except WorkflowFailureError as error:
            raise self._told(error) from error.__cause__
        except KeyboardInterrupt:
            raise Detached(self.id) from None
        finally:
            waiting.cancel()
            self._session.publisher.flush()

    def _give_up_if_suspended(self, waiting: Any) -> None:
        if waiting.done():
            return
        timeline = self.timeline
        problem = timeline.code.problem
        if problem is not None and self._session.publisher.board.is_stuck(self._run, time.time_ns()):
            raise SuspendedError(self.id, problem.summary, problem.where)

    def _told(self, error: WorkflowFailureError) -> WorkflowFailureError:
        if isinstance(error, SuspendedError | WorkflowFailed):
            return error
        return WorkflowFailed(self.id, error.cause, self._place_of)

    async def signal(self, signal: Any, *args: Any, **options: Any) -> None:
        """Send a signal; see `WorkflowHandle.signal`."""
        await self._handle.signal(signal, *args, **options)

    async def query(self, query: Any, *args: Any, **options: Any) -> Any:
        """Ask the workflow's code; see `WorkflowHandle.query`."""
        return await self._handle.query(query, *args, **options)

    async def cancel(self) -> None:
        """Ask the execution to cancel itself."""
        await self._handle.cancel()

    async def terminate(self, *args: Any, reason: str | None = None) -> None:
        """End the execution at once."""
        await self._handle.terminate(*args, reason=reason)

    async def describe(self) -> Any:
        """Describe the execution; see `WorkflowHandle.describe`."""
        return await self._handle.describe()

    def signal_now(self, name: str, values: Sequence[Any]) -> None:
        """Send a signal from code that cannot await."""
        self._now(lambda: self._handle.signal(name, args=values))

    def query_now(self, name: str, values: Sequence[Any]) -> Any:
        """Ask the workflow's code from code that cannot await."""
        return self._now(lambda: self._handle.query(name, args=values))

    def cancel_now(self) -> None:
        """Request cancellation from code that cannot await."""
        self._now(self._handle.cancel)

    def terminate_now(self, reason: str | None) -> None:
        """End it from code that cannot await."""
        self._now(lambda: self._handle.terminate(reason=reason))

    def _now(self, call: Callable[[], Awaitable[Any]]) -> Any:
        return self._session.submit(call).result()

    def show(self) -> None:
        """Show the timeline as output of the present cell, and keep it true."""
        self._session.publisher.show(self._run, f"flowkernel-{uuid.uuid4().hex}")

    def _ipython_display_(self) -> None:
        self.show()

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> Mapping[str, Any]:
        del include, exclude  # the bundle is always whole
        return mimebundle(self.timeline)

    def __repr__(self) -> str:
        return f"<CellHandle {self.id} ({self.status})>"
