"""What tests with a real worker share: one queue on a service whose time jumps, and workflows that do as they are told."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from flowkernel import workflow
from flowkernel.api import Change
from flowkernel.client import Client, WorkflowFailureError, WorkflowHandle
from flowkernel.common import RetryPolicy
from flowkernel.model.records import ActivityOutputCaptured, Record
from flowkernel.testing import WorkflowEnvironment
from flowkernel.worker import Worker

QUEUE = "lab"
ONCE = {"retry_policy": {"maximum_attempts": 1}}


@workflow.defn
class Call:
    """Runs one activity, by name, with the options that its input says."""

    @workflow.run
    async def run(self, activity: str, args: list[Any], options: dict[str, Any]) -> Any:
        return await workflow.execute_activity(activity, args=args, **read_options(options))


@workflow.defn
class Sleep:
    """Sleeps for as long as it is told."""

    @workflow.run
    async def run(self, duration: str) -> str:
        await workflow.sleep(duration)
        return f"slept {duration}"


@workflow.defn
class Inbox:
    """Collects what it is signalled until it is told to end."""

    def __init__(self) -> None:
        self.messages: list[Any] = []
        self.ended = False

    @workflow.run
    async def run(self) -> list[Any]:
        await workflow.wait_condition(lambda: self.ended)
        return self.messages

    @workflow.signal
    async def put(self, message: Any) -> None:
        self.messages.append(message)

    @workflow.signal(name="finish")
    def end(self) -> None:
        self.ended = True

    @workflow.query
    def count(self) -> int:
        return len(self.messages)


def read_options(options: dict[str, Any]) -> dict[str, Any]:
    """Activity options as JSON can say them."""
    read = {"start_to_close_timeout": "10s", **options}
    if policy := read.get("retry_policy"):
        intervals = {key: timedelta(seconds=policy[key]) for key in ("initial_interval", "maximum_interval") if key in policy}
        read["retry_policy"] = RetryPolicy(**{**policy, **intervals})
    if "cancellation_type" in read:
        read["cancellation_type"] = workflow.ActivityCancellationType[read["cancellation_type"]]
    return read


class Lab:
    """A service, its client, and a queue."""

    def __init__(self, env: WorkflowEnvironment) -> None:
        self.env = env
        self.client: Client = env.client
        self._ids = 0

    def worker(self, *code: Any, client: Client | None = None, **options: Any) -> Worker:
        """A worker of the queue for these workflows (classes) and activities (functions)."""
        classes = [item for item in code if isinstance(item, type)]
        functions = [item for item in code if not isinstance(item, type)]
        return Worker(client or self.client, task_queue=QUEUE, workflows=classes, activities=functions, **options)

    async def start(self, flow: Any, *args: Any, client: Client | None = None, **options: Any) -> WorkflowHandle[Any]:
        self._ids += 1
        given = {"id": f"flow-{self._ids}", "task_queue": QUEUE, **options}
        return await (client or self.client).start_workflow(flow, args=args, **given)

    async def run(self, flow: Any, *args: Any, **options: Any) -> Any:
        return await (await self.start(flow, *args, **options)).result()

    async def call(self, activity: Any, *args: Any, **options: Any) -> Any:
        """Run an activity in a workflow of its own and return its result. Needs a worker with `Call`."""
        return await (await self.start_call(activity, *args, **options)).result()

    async def start_call(self, activity: Any, *args: Any, **options: Any) -> WorkflowHandle[Any]:
        name = activity if isinstance(activity, str) else activity.__name__
        return await self.start(Call.run, name, list(args), options)

    async def seen(self, handle: WorkflowHandle[Any], what: Callable[[Any], bool]) -> Any:
        """Wait until an event or a record of the run, one that was or one that comes, is what is looked for."""
        loop = asyncio.get_running_loop()
        found: asyncio.Future[Any] = loop.create_future()

        def look(items: Any) -> None:
            for item in items:
                if what(item) and not found.done():
                    found.set_result(item)

        def listen(changes: Any) -> None:
            own: list[Change] = [change for change in changes if change.run.workflow_id == handle.id]
            items = [item for change in own for item in (*change.events, *change.records)]
            loop.call_soon_threadsafe(look, items)

        stop = self.client.service.subscribe(listen)
        try:
            history = await handle.fetch_history(with_records=True)
            look((*history.events, *history.records))
            return await found
        finally:
            stop()

    async def seen_in_time(self, handle: WorkflowHandle[Any], what: Callable[[Any], bool]) -> Any:
        """As `seen`, letting time pass second by second meanwhile."""
        found = asyncio.create_task(self.seen(handle, what))
        while not found.done():
            await self.env.sleep("1s")
        return await found

    async def event(self, handle: WorkflowHandle[Any], name: str) -> Any:
        """Wait for an event of this name; returns its attributes."""
        event = await self.seen(handle, lambda item: getattr(item, "stored_name", None) == name)
        return event.attributes


def named(name: str) -> Callable[[Any], bool]:
    """For `Lab.seen`: a record's class name."""
    return lambda item: type(item).__name__ == name


async def events_of(handle: WorkflowHandle[Any]) -> list[str]:
    return [event.stored_name for event in (await handle.fetch_history()).events]


async def records_of(handle: WorkflowHandle[Any]) -> tuple[Record, ...]:
    return (await handle.fetch_history(with_records=True)).records


async def output_of(handle: WorkflowHandle[Any]) -> list[tuple[int, str, str]]:
    """Captured text: attempt, stream, text; consecutive pieces of a stream joined."""
    pieces: list[tuple[int, str, str]] = []
    for record in await records_of(handle):
        if isinstance(record, ActivityOutputCaptured):
            if pieces and pieces[-1][:2] == (record.attempt, record.stream):
                pieces[-1] = (record.attempt, record.stream, pieces[-1][2] + record.text)
            else:
                pieces.append((record.attempt, record.stream, record.text))
    return pieces


async def causes(awaitable: Any) -> list[BaseException]:
    """The chain below the `WorkflowFailureError` with which it ends."""
    chain: list[BaseException] = []
    try:
        result = await awaitable
    except WorkflowFailureError as failure:
        error: BaseException | None = failure.cause
        while error is not None:
            chain.append(error)
            error = error.__cause__
        return chain
    raise AssertionError(f"it did not fail but returned {result!r}")


class Gate:
    """Lets threads and coroutines meet: `arrived` is set from inside, `open` lets it go on."""

    def __init__(self) -> None:
        self.arrivals = 0
        self._arrived = threading.Semaphore(0)
        self._open = threading.Event()

    def pass_in_thread(self) -> None:
        self.arrivals += 1
        self._arrived.release()
        assert self._open.wait(60)

    async def pass_through(self) -> None:
        self.arrivals += 1
        self._arrived.release()
        assert await asyncio.to_thread(self._open.wait, 60)

    async def arrived(self) -> None:
        """Wait for one more that came to the gate."""
        assert await asyncio.to_thread(self._arrived.acquire, True, 60)

    def open(self) -> None:
        self._open.set()
