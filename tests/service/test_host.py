"""The thread around the core: groups, failures, the end. Nothing here waits for time to pass."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import pytest
from desk import NAMESPACE, QUEUE, Reply, activity, signal, start

from flowkernel.api import Change, call_sync
from flowkernel.model import requests as req
from flowkernel.model.errors import EngineBug, ExecutionAlreadyStarted, RPCError, RPCStatusCode, WriteFailed
from flowkernel.model.ids import SECOND
from flowkernel.model.transition import Transition
from flowkernel.service import EmbeddedService, SkippingClock
from flowkernel.service.host import STARTS_PER_TURN
from flowkernel.store.memory import MemoryStore

WAIT = 10.0
"""Seconds after which a test gives up."""


class UnreliableStore(MemoryStore):
    """Refuses commits while told to; can make the service wait inside one."""

    def __init__(self) -> None:
        super().__init__()
        self.failures = 0
        self.tried = 0
        self.gate = threading.Event()
        self.gate.set()
        self.inside = threading.Event()
        self.sizes: list[int] = []

    def commit(self, transitions: Sequence[Transition]) -> None:
        self.tried += 1
        self.inside.set()
        assert self.gate.wait(WAIT)
        if self.failures:
            self.failures -= 1
            raise WriteFailed(self.path, "disk full")
        self.sizes.append(len(transitions))
        super().commit(transitions)


class Later(Reply):
    """A reply that a test can wait for."""

    def __init__(self) -> None:
        super().__init__()
        self._event = threading.Event()

    def __call__(self, answer: Any, error: BaseException | None) -> None:
        super().__call__(answer, error)
        self._event.set()

    def wait(self) -> Later:
        assert self._event.wait(WAIT), "no answer"
        return self


@pytest.fixture
def store():
    return UnreliableStore()


@pytest.fixture
def service(store):
    service = EmbeddedService(store, SkippingClock())
    yield service
    store.gate.set()
    service.close(WAIT)


def send(service: EmbeddedService, request: Any) -> Later:
    reply = Later()
    service.send(request, reply)
    return reply


def poll_activities(service: EmbeddedService) -> Later:
    return send(service, req.PollActivityTasks(NAMESPACE, QUEUE, "a", 5))


def poll(service: EmbeddedService) -> Later:
    return send(service, req.PollWorkflowTasks(NAMESPACE, QUEUE, "a", 5))


def test_requests_that_come_during_a_commit_share_the_next_one(service, store):
    store.gate.clear()
    first = send(service, start("0"))
    assert store.inside.wait(WAIT)
    others = [send(service, start(str(number))) for number in range(1, 21)]
    store.gate.set()
    for reply in (first, *others):
        assert reply.wait().error is None
    assert store.sizes == [1, 20]


def test_requests_of_one_thread_are_taken_in_order(service, store):
    store.gate.clear()
    send(service, start("0"))
    assert store.inside.wait(WAIT)
    starts = [send(service, start(str(number))) for number in range(1, 2 * STARTS_PER_TURN)]
    told = send(service, signal("x", str(2 * STARTS_PER_TURN - 1)))
    store.gate.set()
    assert told.wait().error is None
    assert all(reply.wait().error is None for reply in starts)


def test_a_commit_that_fails_once_costs_one_caller_an_error(service, store, caplog):
    store.failures = 1
    with pytest.raises(WriteFailed, match="disk full"):
        call_sync(service, start(), WAIT)
    assert "commit failed" in caplog.text
    assert call_sync(service, start(), WAIT).started
    assert [info.run.workflow_id for info in call_sync(service, req.ListWorkflowExecutions(NAMESPACE), WAIT).executions] == [
        "order"
    ]


def test_workers_are_not_lost_when_a_commit_fails(service, store, caplog):
    store.failures = 1
    activities, tasks = poll_activities(service), poll(service)
    started = send(service, start())
    (task,) = tasks.wait().value
    answered = send(service, req.RespondWorkflowTaskCompleted(task.token, (activity(),), "a"))
    # The signal and the answer may go into one commit or into two; one of them fails.
    assert {type(started.wait().error), type(answered.wait().error)} & {WriteFailed}
    tasks = poll(service)
    if started.error is not None:
        call_sync(service, start(), WAIT)
    (task,) = tasks.wait().value
    call_sync(service, req.RespondWorkflowTaskCompleted(task.token, (activity(),), "a"), WAIT)
    assert activities.wait().value[0].activity_type == "work"


def test_while_commits_keep_failing_the_service_listens_and_does_not_spin(service, store, caplog):
    tasks = poll(service)
    call_sync(service, start(), WAIT)
    (task,) = tasks.wait().value
    call_sync(service, req.RespondWorkflowTaskCompleted(task.token, (activity(),), "a"), WAIT)
    store.failures = 1_000_000
    tried = store.tried
    activities = poll_activities(service)  # its attempt is to begin, again and again
    for _ in range(200):  # answered at once, without a commit
        assert call_sync(service, req.PollWorkflowTasks(NAMESPACE, QUEUE, "a", 0), WAIT) == ()
    assert 0 < store.tried - tried < 20
    store.failures = 0
    assert activities.wait().value[0].attempt == 1


def test_listeners_hear_of_every_commit_in_order_and_of_nothing_else(service, store, caplog):
    heard: list[Change] = []
    service.subscribe(lambda changes: 1 / 0)
    stop = service.subscribe(heard.extend)
    call_sync(service, start(), WAIT)
    store.failures = 1
    with pytest.raises(WriteFailed):
        call_sync(service, signal("lost"), WAIT)
    call_sync(service, signal("kept"), WAIT)
    call_sync(service, req.ListWorkflowExecutions(NAMESPACE), WAIT)  # listeners are called after replies
    names = [event.stored_name for change in heard for event in change.events]
    assert names == ["WorkflowExecutionStarted", "WorkflowTaskScheduled", "WorkflowExecutionSignaled"]
    assert "a listener failed" in caplog.text
    stop()
    call_sync(service, signal("unheard"), WAIT)
    call_sync(service, req.ListWorkflowExecutions(NAMESPACE), WAIT)
    assert len(heard) == 2


def test_a_reader_sees_what_was_acknowledged(service):
    call_sync(service, start(), WAIT)
    call_sync(service, signal("x"), WAIT)
    found = call_sync(service, req.GetWorkflowExecutionHistory(NAMESPACE, "order"), WAIT)  # type: ignore[arg-type]
    assert [event.stored_name for event in found.events][-1] == "WorkflowExecutionSignaled"


def test_an_error_of_a_request_does_not_end_the_service(service):
    call_sync(service, start(), WAIT)
    with pytest.raises(ExecutionAlreadyStarted):
        call_sync(service, start(), WAIT)
    call_sync(service, signal("x"), WAIT)


def test_a_bug_in_the_store_ends_the_service_and_everybody_is_told(service, store, caplog):
    def broken(_: Any) -> None:
        raise ZeroDivisionError

    waiting = poll(service)
    store.commit = broken
    with pytest.raises(EngineBug, match="ZeroDivisionError"):
        call_sync(service, start(), WAIT)
    waiting.wait()
    with pytest.raises(RPCError, match="closed"):
        call_sync(service, start(), WAIT)


# --- time -------------------------------------------------------------------------------------------------------------


def test_time_is_skipped_to_what_falls_due_while_nobody_works(store):
    clock = SkippingClock()
    clock.allow()
    service = EmbeddedService(store, clock)
    call_sync(service, start(run_timeout=30 * 86_400 * SECOND), WAIT)
    wait = req.GetWorkflowExecutionHistory(NAMESPACE, "order", wait_new_event=True, close_event_only=True)  # type: ignore[arg-type]
    found = call_sync(service, wait, WAIT)
    assert found.events[-1].stored_name == "WorkflowExecutionTimedOut"
    service.close(WAIT)


def test_31_a_query_without_a_worker_ends_in_virtual_time(store):
    clock = SkippingClock()
    clock.allow()
    service = EmbeddedService(store, clock)
    call_sync(service, start(), WAIT)
    with pytest.raises(RPCError) as caught:
        call_sync(service, req.QueryWorkflow(NAMESPACE, "order", "state", timeout=3600 * SECOND), WAIT)  # type: ignore[arg-type]
    assert caught.value.status is RPCStatusCode.DEADLINE_EXCEEDED
    service.close(WAIT)


# --- the end ----------------------------------------------------------------------------------------------------------


def test_closing_answers_whoever_waits_and_refuses_what_comes_later(service):
    call_sync(service, start(), WAIT)
    wait = req.GetWorkflowExecutionHistory(NAMESPACE, "order", wait_new_event=True, close_event_only=True)  # type: ignore[arg-type]
    waiting = [
        send(service, wait),
        send(service, req.QueryWorkflow(NAMESPACE, "order", "state")),  # type: ignore[arg-type]
    ]
    polls = [poll_activities(service)]
    service.close(WAIT)
    for reply in waiting:
        error = reply.wait().error
        assert isinstance(error, RPCError)
        assert error.status is RPCStatusCode.UNAVAILABLE
    assert all(reply.wait().value == () for reply in polls)
    late = send(service, start("late")).wait()
    assert str(late.error) == "the flowkernel service is closed; open the database again"
    service.close(WAIT)


def test_what_was_asked_before_the_end_is_still_done(service, store):
    store.gate.clear()
    send(service, start("0"))
    assert store.inside.wait(WAIT)
    replies = [send(service, start(str(number))) for number in range(1, 3 * STARTS_PER_TURN)]
    closing = threading.Thread(target=service.close, args=(WAIT,))
    closing.start()
    store.gate.set()
    closing.join(WAIT)
    assert not closing.is_alive()
    reopened = store.reopened()
    for number, reply in enumerate(replies, 1):
        assert reply.wait().error is None
        assert reopened.find_run(NAMESPACE, str(number)) is not None


def test_opening_again_goes_on(store):
    service = EmbeddedService(store, SkippingClock())
    call_sync(service, start(), WAIT)
    service.close(WAIT)
    again = EmbeddedService(store.reopened(), SkippingClock())
    assert again.recovered == 1
    tasks = poll(again)
    assert tasks.wait().value[0].run.workflow_id == "order"
    again.close(WAIT)
