"""Random small programs, random histories: a replay asks for exactly what the live run asked for, however the history is fed."""

from __future__ import annotations

import asyncio
import warnings
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flowkernel import workflow
from flowkernel.converter import DataConverter
from flowkernel.exceptions import ActivityError, ApplicationError
from flowkernel.model import commands as c
from flowkernel.replay.definitions import WorkflowDefinition
from flowkernel.replay.instance import WorkflowInstance
from flowkernel.replay.options import ActivityCancellationType
from flowkernel.testing.histories import HistoryBuilder

leaves = st.sampled_from(
    ["activity", "abandoned activity", "patient activity", "sleep", "asyncio.sleep", "wait", "yield", "fail", "random", "log"]
)
programs = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.tuples(
            st.sampled_from(["sequence", "gather", "spawn", "first", "limit", "catch", "shield"]), st.lists(inner, max_size=3)
        )
    ),
    max_leaves=9,
)
happenings = st.lists(
    st.tuples(
        st.sampled_from(["complete", "fail", "fire", "signal", "stop", "cancel", "task", "task", "bad task"]), st.integers(0, 3)
    ),
    max_size=25,
)

KINDS = {
    "activity": ActivityCancellationType.TRY_CANCEL,
    "abandoned activity": ActivityCancellationType.ABANDON,
    "patient activity": ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
}


class Interpreter:
    def __init__(self) -> None:
        self.signals = 0
        self.trace: list[Any] = []

    async def run(self, program: Any) -> None:
        match program:
            case "activity" | "abandoned activity" | "patient activity":
                kind = KINDS[program]
                self.trace.append(await workflow.execute_activity("a", start_to_close_timeout=1, cancellation_type=kind))
            case "sleep":
                await workflow.sleep(1)
            case "asyncio.sleep":
                await asyncio.sleep(1)
            case "wait":
                target = self.signals + 1
                await workflow.wait_condition(lambda: self.signals >= target)
            case "yield":
                await asyncio.sleep(0)
            case "fail":
                raise ApplicationError("planned")
            case "random":
                if workflow.random().random() < 0.5:
                    await workflow.sleep(2)
            case "log":
                self.trace.append(workflow.time_ns())
            case (kind, parts):
                await self.combine(kind, parts)

    async def combine(self, kind: str, parts: list[Any]) -> None:
        match kind:
            case "sequence":
                for part in parts:
                    await self.run(part)
            case "gather":
                await asyncio.gather(*(self.run(part) for part in parts))
            case "spawn":
                async with asyncio.TaskGroup() as group:
                    for part in parts:
                        group.create_task(self.run(part))
            case "first" if parts:
                tasks = [asyncio.create_task(self.run(part)) for part in parts]
                _, rest = await workflow.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                for task in rest:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
            case "limit" if parts:
                async with asyncio.timeout(5):
                    await self.run(parts[0])
            case "catch" if parts:
                try:
                    await self.run(parts[0])
                except (ApplicationError, ActivityError, asyncio.CancelledError, TimeoutError, BaseExceptionGroup) as error:
                    self.trace.append(type(error).__name__)
            case "shield" if parts:
                await asyncio.shield(self.run(parts[0]))
            case _:
                pass


def workflow_of(program: Any) -> WorkflowDefinition:
    async def run() -> list[Any]:
        interpreter = Interpreter()
        children: list[asyncio.Task[None]] = []

        def poke() -> None:
            interpreter.signals += 1

        def stop() -> None:
            for child in children:
                child.cancel()

        workflow.set_signal_handler("poke", poke)
        workflow.set_signal_handler("stop", stop)
        workflow.set_query_handler("trace", lambda: interpreter.trace)
        children.append(asyncio.create_task(interpreter.run(program)))
        try:
            await children[0]
        except BaseExceptionGroup:
            interpreter.trace.append("group")
        return interpreter.trace

    return WorkflowDefinition.of_function(run)


class World:
    """A service that never refuses: it knows which activities and timers are open."""

    def __init__(self, program: Any) -> None:
        self.definition = workflow_of(program)
        self.history = HistoryBuilder("run")
        self.activities: list[str] = []
        self.timers: list[str] = []
        self.answers: list[tuple[c.Command, ...]] = []
        self.live = self.make()

    def make(self) -> WorkflowInstance:
        return WorkflowInstance(self.definition, self.history.run, DataConverter.default)

    def task(self) -> None:
        self.history.task()
        commands = self.live.activate(self.history.since(self.live.last_event_id))
        self.answers.append(commands)
        self.history.commands(commands)
        scheduled = {event.event_id: event.attributes for event in self.history.events}
        for command in commands:
            match command:
                case c.ScheduleActivityTask():
                    self.activities.append(command.activity_id)
                case c.StartTimer():
                    self.timers.append(command.timer_id)
                case c.CancelTimer():
                    self.timers.remove(command.timer_id)
                case c.RequestCancelActivityTask():
                    activity_id = scheduled[command.scheduled_event_id].activity_id  # type: ignore[union-attr]
                    if int(activity_id) % 2 and activity_id in self.activities:
                        self.activities.remove(activity_id)
                        self.history.activity_canceled(activity_id)

    def happen(self, what: str, which: int) -> None:
        self.history.advance(1)
        match what:
            case "complete" | "fail" if self.activities:
                activity_id = self.activities.pop(which % len(self.activities))
                if what == "complete":
                    self.history.activity_completed(activity_id, which)
                else:
                    self.history.activity_failed(activity_id, ApplicationError("activity"))
            case "fire" if self.timers:
                self.history.timer_fired(self.timers.pop(which % len(self.timers)))
            case "signal":
                self.history.signaled("poke")
            case "stop":
                self.history.signaled("stop")
            case "cancel":
                self.history.cancel_requested()
            case "task":
                self.task()
            case "bad task":
                self.history.task().task_failed()
            case _:
                pass


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(program=programs, happened=happenings)
def test_every_history_replays(program, happened):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", workflow.UnfinishedSignalHandlersWarning)
        world = World(program)
        world.task()
        for what, which in happened:
            if world.live.closed:
                break
            world.happen(what, which)
        if not world.live.closed:
            world.task()
        trace = world.live.query("trace")
        # All at once: the recorded commands are compared by the instance itself.
        replayed = world.make()
        assert replayed.activate(world.history.events) == ()
        assert replayed.query("trace") == trace
        assert replayed.closed is world.live.closed
        replayed.evict()
        # Task by task, as a worker with no cache answers each: the same commands in full.
        starts = [event for event in world.history.events if event.stored_name == "WorkflowTaskCompleted"]
        for completed, commands in zip(starts, world.answers, strict=True):
            fresh = world.make()
            assert fresh.activate(world.history.events[: completed.event_id - 1]) == commands
            fresh.evict()
        world.live.evict()
