"""Whatever is asked of the engine, and in whatever order, histories stay well-formed and recovery sees what decisions saw."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from msgspec.structs import replace

from flowkernel import engine
from flowkernel.engine import inputs
from flowkernel.model import commands as cmd
from flowkernel.model import events as ev
from flowkernel.model import requests as req
from flowkernel.model.errors import ExecutionNotFound, InvalidRequest
from flowkernel.model.events import Event
from flowkernel.model.execution import ActivityState, Execution, WorkflowTaskState
from flowkernel.model.failures import ApplicationFailure, Failure
from flowkernel.model.ids import SECOND
from flowkernel.model.policies import RetryPolicy, WorkflowTaskFailedCause
from flowkernel.model.records import Record
from flowkernel.model.tasks import ActivityTaskReady, Deadline, TaskToken, WorkflowTaskReady
from flowkernel.model.transition import Transition

START = 1_000 * SECOND
CLOSES_ACTIVITY = (ev.ActivityTaskCompleted, ev.ActivityTaskFailed, ev.ActivityTaskTimedOut, ev.ActivityTaskCanceled)

retry_policies = st.builds(
    RetryPolicy,
    initial_interval=st.sampled_from([SECOND, 3 * SECOND]),
    maximum_attempts=st.integers(0, 3),
    non_retryable_error_types=st.sampled_from([(), ("Fatal",)]),
)
failures = st.builds(
    Failure,
    st.just("broken"),
    st.builds(
        ApplicationFailure,
        type=st.sampled_from(["Fatal", "Flaky"]),
        non_retryable=st.booleans(),
        next_retry_delay=st.sampled_from([None, 0, SECOND]),
    ),
)
ids = st.sampled_from(["1", "2", "3"])
schedule = st.builds(
    cmd.ScheduleActivityTask,
    ids,
    st.just("work"),
    st.just("queue"),
    start_to_close_timeout=st.sampled_from([0, 5 * SECOND]),
    schedule_to_close_timeout=st.sampled_from([0, 20 * SECOND]),
    schedule_to_start_timeout=st.sampled_from([0, 2 * SECOND]),
    heartbeat_timeout=st.sampled_from([0, 2 * SECOND]),
    retry_policy=st.none() | retry_policies,
)
commands = st.one_of(
    schedule,
    st.builds(cmd.RequestCancelActivityTask, st.integers(1, 40)),
    st.builds(cmd.StartTimer, ids, st.sampled_from([0, SECOND, 60 * SECOND])),
    st.builds(cmd.CancelTimer, ids),
    st.builds(cmd.RecordMarker, st.just("note")),
)
closings = st.one_of(
    st.just(cmd.CompleteWorkflowExecution()),
    st.builds(cmd.FailWorkflowExecution, failures),
    st.just(cmd.CancelWorkflowExecution()),
)


def without_leases(execution: Execution) -> Execution:
    """What of an execution is durable: leases and ended pauses are in memory only."""
    execution = replace(execution)
    task = execution.workflow_task
    if task.state is not WorkflowTaskState.NONE:
        execution.workflow_task = replace(
            task,
            state=WorkflowTaskState.SCHEDULED,
            started_event_id=0,
            started_time=0,
            identity="",
            next_attempt_time=0,
            scheduled_event_id=0 if task.transient else task.scheduled_event_id,
        )
    execution.activities = {
        key: replace(pending, state=ActivityState.SCHEDULED) if pending.state is ActivityState.BACKING_OFF else pending
        for key, pending in execution.activities.items()
    }
    return execution


class EngineMachine(RuleBasedStateMachine):
    """One run, driven by arbitrary requests."""

    @initialize(run_timeout=st.sampled_from([0, 100 * SECOND]), task_timeout=st.sampled_from([0, 3 * SECOND]))
    def begin(self, run_timeout: int, task_timeout: int) -> None:
        self.now = START
        self.history: list[Event] = []
        self.entries: list[Event | Record] = []
        self.deadlines: list[Deadline] = []
        self.offered: set[WorkflowTaskReady | ActivityTaskReady] = set()
        request = req.StartWorkflowExecution(
            "default", "order", "Order", "queue", run_timeout=run_timeout, task_timeout=task_timeout
        )
        self.take(engine.start_run(inputs.StartRun(request, "run"), now=self.now))

    def take(self, transition: Transition) -> None:
        self.execution = transition.after
        self.history.extend(transition.events)
        self.entries.extend((*transition.events, *transition.records))
        self.deadlines.extend(transition.deadlines)
        self.offered.update(transition.ready)

    def ask(self, request: object) -> bool:
        before = repr(self.execution)
        try:
            transition = engine.decide(self.execution, request, now=self.now)
        except (ExecutionNotFound, InvalidRequest):
            assert repr(self.execution) == before, "a refused request must change nothing"
            return False
        assert repr(self.execution) == before, "decide must not change its argument"
        self.take(transition)
        return True

    def token(self) -> TaskToken:
        task = self.execution.workflow_task
        return TaskToken(self.execution.ref, task.scheduled_event_id, task.attempt, task.started_event_id)

    def held(self) -> bool:
        return self.execution.workflow_task.state is WorkflowTaskState.STARTED

    @rule(seconds=st.integers(0, 30))
    def time_passes(self, seconds: int) -> None:
        self.now += seconds * SECOND
        due = sorted(deadline for deadline in self.deadlines if deadline.due <= self.now)
        self.deadlines = [deadline for deadline in self.deadlines if deadline.due > self.now]
        for deadline in due:
            self.ask(inputs.DeadlinePassed(deadline))

    @rule(name=st.sampled_from(["approve", "stop"]), request_id=st.sampled_from(["", "a", "b"]))
    def signal(self, name: str, request_id: str) -> None:
        known = request_id in self.execution.signal_request_ids
        count = len(self.entries)
        accepted = self.ask(req.SignalWorkflowExecution("default", "order", name, request_id=request_id))
        assert accepted == self.execution.open
        if known and accepted:
            assert len(self.entries) == count, "the same request id counts once"

    @rule()
    def request_cancel(self) -> None:
        self.ask(req.RequestCancelWorkflowExecution("default", "order"))

    @precondition(lambda self: len(self.history) > 25)
    @rule()
    def terminate(self) -> None:
        was_open = self.execution.open
        assert self.ask(req.TerminateWorkflowExecution("default", "order")) == was_open
        assert not self.execution.open

    @rule()
    def take_workflow_task(self) -> None:
        wanted = self.execution.open and self.execution.workflow_task.state is WorkflowTaskState.SCHEDULED
        assert self.ask(inputs.StartWorkflowTask("worker")) == wanted

    @precondition(lambda self: self.held())
    @rule(asked=st.lists(commands, max_size=3))
    def answer(self, asked: list[cmd.Command]) -> None:
        assert self.ask(req.RespondWorkflowTaskCompleted(self.token(), tuple(asked), "worker"))
        assert not self.held()

    @precondition(lambda self: self.held() and len(self.history) > 8)
    @rule(asked=st.lists(commands, max_size=2), closing=closings)
    def answer_with_the_end(self, asked: list[cmd.Command], closing: cmd.Command) -> None:
        unseen = bool(self.execution.buffered)
        assert self.ask(req.RespondWorkflowTaskCompleted(self.token(), (*asked, closing), "worker"))
        if unseen:
            assert self.execution.open, "what has not been seen must not be lost"

    @precondition(lambda self: self.held())
    @rule()
    def code_breaks(self) -> None:
        cause = WorkflowTaskFailedCause.WORKFLOW_WORKER_UNHANDLED_FAILURE
        assert self.ask(req.RespondWorkflowTaskFailed(self.token(), cause, Failure("bug")))
        assert self.execution.open

    @precondition(lambda self: self.held())
    @rule()
    def worker_of_the_code_goes(self) -> None:
        assert self.ask(inputs.ReturnWorkflowTask())
        assert self.execution.workflow_task.state is WorkflowTaskState.SCHEDULED

    @rule()
    def code_is_mended(self) -> None:
        self.ask(inputs.WakeWorkflowTask())
        assert self.execution.workflow_task.state is not WorkflowTaskState.BACKING_OFF

    @precondition(lambda self: bool(self.execution.activities))
    @rule(data=st.data())
    def attempt_starts(self, data: st.DataObject) -> None:
        pending = data.draw(st.sampled_from(list(self.execution.activities.values())))
        wanted = pending.state is ActivityState.SCHEDULED
        request = inputs.StartActivityTask(pending.scheduled_event_id, pending.attempt, "worker")
        assert self.ask(request) == wanted

    @precondition(lambda self: bool(self.execution.activities))
    @rule(data=st.data(), failure=failures, kind=st.integers(0, 6), late=st.booleans())
    def attempt_reports(self, data: st.DataObject, failure: Failure, kind: int, late: bool) -> None:
        pending = data.draw(st.sampled_from(list(self.execution.activities.values())))
        token = TaskToken(self.execution.ref, pending.scheduled_event_id, pending.attempt - (1 if late else 0))
        request = (
            req.RespondActivityTaskCompleted(token),
            req.RespondActivityTaskFailed(token, failure),
            req.RespondActivityTaskCanceled(token),
            req.RecordActivityTaskHeartbeat(token, output=(req.Output(self.now, "stdout", "x"),)),
            req.ReleaseActivityTask(token),
            inputs.LoseActivityAttempt(pending.scheduled_event_id, pending.attempt),
            req.RespondActivityTaskCompleted(req.ActivityAddress("default", "order", "", pending.scheduled.activity_id)),
        )[kind]
        self.ask(request)

    # --- what always holds ------------------------------------------------------------------------------------------

    @invariant()
    def ids_count_from_one(self) -> None:
        assert [event.event_id for event in self.history] == list(range(1, len(self.history) + 1))

    @invariant()
    def recovery_sees_the_same(self) -> None:
        folded = engine.fold_run(self.execution.ref, self.entries)
        assert without_leases(folded) == without_leases(self.execution)

    @invariant()
    def the_end_is_the_end(self) -> None:
        ends = [event for event in self.history if type(event.attributes) in ev.CLOSE_EVENTS]
        assert len(ends) == (0 if self.execution.open else 1)
        if ends:
            assert ends[0] is self.history[-1]

    @invariant()
    def activities_start_and_end_once(self) -> None:
        scheduled: dict[int, str] = {}
        for event in self.history:
            kind, attributes = type(event.attributes), event.attributes
            if kind is ev.ActivityTaskScheduled:
                scheduled[event.event_id] = "scheduled"
            elif kind is ev.ActivityTaskStarted:
                assert scheduled[attributes.scheduled_event_id] == "scheduled"
                scheduled[attributes.scheduled_event_id] = f"started {event.event_id}"
            elif kind in CLOSES_ACTIVITY:
                before = scheduled.pop(attributes.scheduled_event_id)
                expected = f"started {attributes.started_event_id}" if attributes.started_event_id else "scheduled"
                assert before == expected
        if self.execution.open:
            unseen = {e.attributes.scheduled_event_id for e in self.execution.buffered if type(e.attributes) in CLOSES_ACTIVITY}
            assert set(scheduled) - unseen == set(self.execution.activities)

    @invariant()
    def workflow_tasks_come_in_order(self) -> None:
        state = "none"
        follows = {
            "WorkflowTaskScheduled": ("none", "scheduled"),
            "WorkflowTaskStarted": ("scheduled", "started"),
            "WorkflowTaskCompleted": ("started", "none"),
            "WorkflowTaskFailed": ("started", "none"),
            "WorkflowTaskTimedOut": ("started", "none"),
        }
        for event in self.history:
            if event.stored_name in follows:
                before, state_after = follows[event.stored_name]
                assert state == before, event
                state = state_after

    @invariant()
    def nothing_waits_for_nobody(self) -> None:
        """Whatever is scheduled has been offered to workers, and the code gets to see what is new."""
        if not self.execution.open:
            return
        for ready in engine.ready_tasks(self.execution):
            if isinstance(ready, ActivityTaskReady):
                assert ready in self.offered
        if self.execution.workflow_task.state is WorkflowTaskState.NONE:
            last_task = max((e.event_id for e in self.history if e.stored_name == "WorkflowTaskCompleted"), default=0)
            news = [
                e
                for e in self.history[last_task:]
                if e.stored_name in ("WorkflowExecutionSignaled", "TimerFired", "WorkflowExecutionCancelRequested")
                or type(e.attributes) in CLOSES_ACTIVITY
            ]
            assert not news

    @invariant()
    def deadlines_cover_what_is_pending(self) -> None:
        wanted = {d for d in engine.deadlines(self.execution) if d.due > self.now}
        kept = set(self.deadlines)
        missing = {d for d in wanted if not any(k.kind == d.kind and k.due == d.due and k.key == d.key for k in kept)}
        assert not missing


EngineMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestEngine = EngineMachine.TestCase
