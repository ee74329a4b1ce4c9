from __future__ import annotations

import logging
from datetime import timedelta

import pytest

from flowkernel import workflow
from flowkernel.common import RetryPolicy
from flowkernel.converter import DataConverter
from flowkernel.model.ids import SECOND
from flowkernel.model.policies import RetryPolicy as ModelRetryPolicy
from flowkernel.replay.errors import NotInWorkflowError
from flowkernel.replay.randomness import seed_of


def value_of(drive, code, **options):
    driver = drive(code, **options)
    return driver.value(driver.task())


@pytest.mark.parametrize(
    "call", [workflow.info, workflow.now, workflow.random, workflow.uuid4, workflow.memo, workflow.all_handlers_finished]
)
def test_outside_of_workflows_it_is_said_so(call):
    assert not workflow.in_workflow()
    with pytest.raises(NotInWorkflowError, match="not in workflow code"):
        call()


def test_random_numbers_repeat(drive):
    async def run():
        before = [
            workflow.random().random(),
            str(workflow.uuid4()),
            workflow.new_random().random(),
            workflow.new_random("a").random(),
        ]
        await workflow.sleep(1)
        return [*before, str(workflow.uuid7()), workflow.random_seed()]

    values = []
    for _ in range(2):
        driver = drive(run)
        driver.task()
        driver.history.timer_fired("1")
        values.append(driver.value(driver.task()))
    assert values[0] == values[1]
    first, uuid4, same, other, uuid7, seed = values[0]
    assert (first == same, other == first) == (True, False)
    assert (uuid4[14], uuid7[14]) == ("4", "7")
    assert int(uuid7[:8] + uuid7[9:13], 16) == 1_767_225_600_000
    assert seed == seed_of("01900000-0000-7000-8000-000000000000")


def test_random_numbers_are_those_of_temporals_core(drive):
    """Values that the official SDK's replayer gave for a run of this id at this time."""

    async def run():
        return [workflow.random_seed(), str(workflow.uuid4()), str(workflow.uuid7())]

    assert value_of(drive, run) == [
        2168572186116436444,
        "3150771c-dd00-4261-b7e4-bb6721bb3579",
        "019b76da-a800-7506-9d0f-079eccb7cf3c",
    ]


def test_info_tells_what_the_start_event_says(drive):
    async def run():
        info = workflow.info()
        return [
            info.workflow_id,
            info.workflow_type,
            info.task_queue,
            info.namespace,
            info.attempt,
            info.run_timeout == timedelta(minutes=1),
            info.execution_timeout,
            info.task_timeout.total_seconds(),
            info.retry_policy == RetryPolicy(maximum_attempts=2),
            info.priority.priority_key,
            info.start_time.isoformat(),
            (info.start_time - info.workflow_start_time).total_seconds(),
            info.get_current_history_length(),
            info.get_current_history_size(),
            info.is_continue_as_new_suggested(),
            info.search_attributes,
        ]

    driver = drive(run, started={"attempt": 2, "run_timeout": 60 * SECOND, "retry_policy": ModelRetryPolicy(maximum_attempts=2)})
    driver.history.advance(3)
    assert driver.value(driver.task()) == [
        "test", "run", "queue", "default", 2, True, None, 10, True, None,
        "2026-01-01T00:00:03+00:00", 3, 3, 0, False, {},
    ]  # fmt: skip


def test_memo(drive):
    async def run():
        missing = workflow.memo_value("none", "default")
        with pytest.raises(KeyError, match="the workflow's memo has no 'none'; it has: n"):
            workflow.memo_value("none")
        return [dict(workflow.memo()), workflow.memo_value("n", type_hint=float), missing]

    payload = DataConverter.default.payload_converter.to_payload(5)
    assert value_of(drive, run, started={"memo": {"n": payload}}) == [{"n": 5}, 5, "default"]


def test_the_logger_is_silent_in_a_replay(drive, caplog):
    async def run():
        workflow.logger.info("hello %s", "there")

    caplog.set_level(logging.INFO)
    driver = drive(run)
    driver.task()
    driver.replay().evict()
    (record,) = caplog.records
    assert record.getMessage().startswith("hello there ({'attempt': 1, 'namespace': 'default', ")
    assert record.temporal_workflow["workflow_id"] == "test"
    assert record.name == "flowkernel.workflow"


def test_the_logger_works_outside(caplog):
    workflow.logger.warning("plain")
    assert caplog.records[0].getMessage() == "plain"


def test_the_instance_is_the_object(drive):
    driver = drive(Holder)
    assert driver.value(driver.task()) is True


@workflow.defn
class Holder:
    @workflow.run
    async def run(self) -> bool:
        return workflow.instance() is self


def test_unsafe_marks(drive):
    async def run():
        unsafe = workflow.unsafe
        with unsafe.imports_passed_through(), unsafe.sandbox_unrestricted():
            inside = [unsafe.is_imports_passed_through(), unsafe.is_sandbox_unrestricted()]
        return [*inside, unsafe.is_imports_passed_through(), unsafe.in_sandbox(), unsafe.is_read_only()]

    assert value_of(drive, run) == [True, True, False, False, False]


def test_the_surface_is_sorted_and_complete():
    assert list(workflow.__all__) == sorted(workflow.__all__)
    assert all(hasattr(workflow, name) for name in workflow.__all__)
