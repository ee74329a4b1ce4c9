"""A deterministic asyncio event loop.

It has no clock and no selector: callbacks run in the order in which they were scheduled, time stands still during an activation,
and a delay becomes a durable timer. Whatever would reach outside (sockets, files, threads, processes, signals) raises
`UnsupportedInWorkflow`. The loop never runs by itself; `WorkflowLoop.run_ready` drains what is ready and returns.

Speed matters: every activation passes here. So the handles skip asyncio's debug hooks, and the drain loop calls the context
directly instead of through ``Handle._run``.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, cast

from flowkernel.replay.errors import EvictedError, UnsupportedInWorkflow
from flowkernel.replay.outbox import Outbox

if TYPE_CHECKING:
    from flowkernel.replay.runtime import WorkflowRuntime
    from flowkernel.replay.timers import Timers

T = TypeVar("T")
Context = dict[str, Any]
ExceptionHandler = Callable[[asyncio.AbstractEventLoop, Context], object]


class ReadyHandle(asyncio.Handle):
    """A scheduled callback."""

    __slots__ = ()

    def __init__(
        self,
        callback: Callable[..., object],
        args: tuple[Any, ...],
        loop: asyncio.AbstractEventLoop,
        context: contextvars.Context | None,
    ) -> None:
        self._context = contextvars.copy_context() if context is None else context
        self._loop = loop
        self._callback = callback
        self._args = args
        self._cancelled = False
        self._repr = None
        self._source_traceback = None


class OrderedTask(asyncio.Task[T]):
    """A task whose hash is its number, so that sets of tasks have the same order in every replay.

    asyncio keeps tasks in sets: a failing ``TaskGroup`` cancels its tasks in the set's order, ``asyncio.wait`` returns sets. By
    default that order comes from memory addresses, and cancelling in another order asks for other commands.
    """

    def __init__(
        self, coro: Coroutine[Any, Any, T], loop: WorkflowLoop, name: str | None, context: contextvars.Context | None = None
    ) -> None:
        # asyncio registers the task in a set of its own, of all loops: there, numbers that begin anew in every workflow would
        # collide by the thousand. It keeps the hash that it sees now.
        self._number = id(self) >> 4
        super().__init__(coro, loop=loop, name=name, context=context)
        loop.task_count = self._number = loop.task_count + 1
        loop.outbox.keep(self)
        self.add_done_callback(loop.forget)
        # A worker that goes away leaves tasks pending; that is no reason for asyncio to complain on stderr.
        cast(Any, self)._log_destroy_pending = False

    def __hash__(self) -> int:
        return self._number


_FORBIDDEN = {
    "add_reader": "watching a file descriptor",
    "add_signal_handler": "handling a signal of the operating system",
    "add_writer": "watching a file descriptor",
    "call_soon_threadsafe": "scheduling from another thread (loop.call_soon_threadsafe)",
    "close": "closing the event loop",
    "connect_accepted_socket": "using a socket",
    "connect_read_pipe": "reading a pipe",
    "connect_write_pipe": "writing a pipe",
    "create_connection": "opening a network connection",
    "create_datagram_endpoint": "opening a network endpoint",
    "create_server": "opening a network server",
    "create_unix_connection": "opening a socket",
    "create_unix_server": "opening a socket server",
    "getaddrinfo": "looking up a network address",
    "getnameinfo": "looking up a network name",
    "remove_reader": "watching a file descriptor",
    "remove_signal_handler": "handling a signal of the operating system",
    "remove_writer": "watching a file descriptor",
    "run_forever": "running the event loop",
    "run_in_executor": "running a function on a thread or process (asyncio.to_thread, loop.run_in_executor)",
    "run_until_complete": "running the event loop",
    "sendfile": "sending a file",
    "set_default_executor": "using an executor",
    "set_task_factory": "replacing the task factory",
    "shutdown_asyncgens": "shutting down the event loop",
    "shutdown_default_executor": "shutting down the event loop",
    "sock_accept": "using a socket",
    "sock_connect": "using a socket",
    "sock_recv": "using a socket",
    "sock_recv_into": "using a socket",
    "sock_recvfrom": "using a socket",
    "sock_recvfrom_into": "using a socket",
    "sock_sendall": "using a socket",
    "sock_sendfile": "using a socket",
    "sock_sendto": "using a socket",
    "start_tls": "opening a network connection",
    "stop": "stopping the event loop",
    "subprocess_exec": "starting a process",
    "subprocess_shell": "starting a process",
}


def _forbid(name: str, what: str) -> Callable[..., NoReturn]:
    def refuse(self: Any, *args: Any, **kwargs: Any) -> NoReturn:  # noqa: ARG001 - any call is refused
        raise UnsupportedInWorkflow(what)

    refuse.__name__ = name
    return refuse


class WorkflowLoop(asyncio.AbstractEventLoop):
    """The event loop on which one workflow's code runs."""

    def __init__(self) -> None:
        self._ready: deque[Any] = deque()
        self._exception_handler: ExceptionHandler | None = None
        self.conditions: list[tuple[Callable[[], bool], asyncio.Future[bool]]] = []
        self.outbox = Outbox(WorkflowLoop.run_ready.__code__)
        self.time_ns = 0
        self.task_count = 0
        self.error: BaseException | None = None
        self.timers: Timers
        self.runtime: WorkflowRuntime | None = None
        self.report: Callable[[str, BaseException | None], None] = ignore

    # --- running ------------------------------------------------------------------------------------------------

    def run_ready(self) -> None:
        """Run what is ready, and what becomes ready by that, until everything waits.

        Conditions are looked at only when nothing else is ready, again and again until none of them lets anything move.

        Raises:
            BaseException: whatever `error` was set to by the code that ran, or a condition raised.
        """
        ready = self._ready
        while ready:
            while ready:
                handle = ready.popleft()
                if handle._cancelled:
                    continue
                try:
                    handle._context.run(handle._callback, *handle._args)
                except (SystemExit, KeyboardInterrupt):
                    raise
                except BaseException as error:  # noqa: BLE001 - as every asyncio loop: a callback never stops the loop
                    self._callback_failed(handle, error)
                if self.error is not None and not self.outbox.evicting:
                    raise self.error
            if self.conditions and not self.outbox.evicting:
                self._check_conditions()

    def _check_conditions(self) -> None:
        waiting: list[tuple[Callable[[], bool], asyncio.Future[bool]]] = []
        for condition in self.conditions:
            holds, future = condition
            if future.done():
                continue
            if holds():
                future.set_result(True)
            else:
                waiting.append(condition)
        self.conditions[:] = waiting

    def enqueue(self, handle: asyncio.Handle) -> None:
        """Run a handle that was scheduled earlier, such as a timer's, with what is ready."""
        self._ready.append(handle)

    def _callback_failed(self, handle: asyncio.Handle, error: BaseException) -> None:
        if not isinstance(error, EvictedError):
            self.call_exception_handler({"message": f"Exception in callback {handle!r}", "exception": error, "handle": handle})

    def release(self) -> None:
        """Let go of everything at the end of the run's time in memory."""
        self._ready.clear()
        self.conditions.clear()
        self.outbox.tasks.clear()
        self.runtime = None
        del self.timers

    # --- what asyncio asks of a loop ----------------------------------------------------------------------------

    def call_soon(
        self, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        """Run a callback after what is ready now."""
        if self.outbox.read_only:
            self.outbox.check("schedule a callback")
        handle = ReadyHandle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def call_later(
        self, delay: float, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        """Run a callback after ``delay`` seconds: a durable timer.

        Raises:
            RuntimeError: the delay is negative.
        """
        return self.timers.start(round(delay * 1e9), callback, args, context)

    def call_at(
        self, when: float, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        """Run a callback at ``when`` on `time`'s scale: a durable timer.

        Rounded to milliseconds: a float of seconds since 1970 is no more exact than that after an addition and a subtraction.
        """
        return self.call_later(round(when - self.time(), 3), callback, *args, context=context)

    def time(self) -> float:
        """Seconds since the epoch: the time of the workflow task, frozen during an activation."""
        return self.time_ns / 1e9

    def create_future(self) -> asyncio.Future[Any]:
        """A future on this loop."""
        return asyncio.Future(loop=self)

    def create_task(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        coro: Generator[Any, None, T] | Coroutine[Any, Any, T],
        *,
        name: object = None,
        context: contextvars.Context | None = None,
    ) -> asyncio.Task[T]:
        """Run a coroutine as a task."""
        outbox = self.outbox
        if outbox.read_only or outbox.evicting:
            coro.close()
            outbox.check("create a task")
        return OrderedTask(cast("Coroutine[Any, Any, T]", coro), self, cast("str | None", name), context)

    def forget(self, task: asyncio.Task[Any]) -> None:
        """Let go of a task that is done."""
        self.outbox.tasks.pop(task, None)

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        self.timers.cancelled(handle)

    def is_running(self) -> bool:
        """True: code that can ask runs on it."""
        return True

    def is_closed(self) -> bool:
        """False: it ends with its workflow."""
        return False

    def get_debug(self) -> bool:
        """False: debug mode measures wall-clock time."""
        return False

    def set_debug(self, enabled: bool) -> None:
        """Accepted and ignored."""

    def get_task_factory(self) -> None:
        """None: tasks are asyncio's own."""
        return

    # --- errors that nobody awaits ------------------------------------------------------------------------------

    def get_exception_handler(self) -> ExceptionHandler | None:
        """The handler set by `set_exception_handler`."""
        return self._exception_handler

    def set_exception_handler(self, handler: ExceptionHandler | None) -> None:
        """Have errors that nobody awaits handed to ``handler``; None reports them to the worker."""
        self._exception_handler = handler

    def default_exception_handler(self, context: Context) -> None:
        """Report to the worker, which logs."""
        self.report(str(context.get("message") or "Unhandled exception in workflow code"), context.get("exception"))

    def call_exception_handler(self, context: Context) -> None:
        """Called by asyncio for an error that nobody awaits. Silent during eviction."""
        if self.outbox.evicting:
            return
        if self._exception_handler is None:
            self.default_exception_handler(context)
            return
        try:
            self._exception_handler(self, context)
        except Exception as error:  # noqa: BLE001 - an author's handler must not stop the loop
            self.default_exception_handler({"message": "Error in the workflow's exception handler", "exception": error})


for _name, _what in _FORBIDDEN.items():
    setattr(WorkflowLoop, _name, _forbid(_name, _what))


def ignore(message: str, error: BaseException | None) -> None:
    """The report that goes nowhere."""
