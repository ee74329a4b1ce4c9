"""Error texts, read as somebody would who meets them for the first time: what, where, and what to do now.

One entry for each mistake that is easy to make. ``*`` stands for the rest of a text that another entry shows in full.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from laboratory import QUEUE, Inbox, Lab, Sleep

from flowkernel import activity, workflow
from flowkernel.client import Client
from flowkernel.common import RetryPolicy
from flowkernel.converter import PayloadTooLargeError
from flowkernel.model.errors import (
    DatabaseCorrupt,
    DatabaseInUse,
    DatabaseReadOnly,
    DatabaseTooNew,
    ExecutionNotFound,
    WriteFailed,
)
from flowkernel.worker import Worker

pytestmark = pytest.mark.anyio

LONGEST = 420
"""Characters; more is not read."""


@activity.defn
def load(name: str) -> str:
    return name


class NoWorkflow:
    def run(self) -> None: ...


FORMS = 'A duration is, for example, 30 or 1.5 (seconds), "30s", "500ms", "2 minutes", "1h30m", "1d 12h", or timedelta(minutes=2)'


def start(**options: Any) -> Callable[[Lab], Any]:
    given = {"workflow": Sleep.run, "arg": "1m", "id": "w", "task_queue": QUEUE, **options}
    return lambda lab: lab.client.start_workflow(**given)


def worker(**options: Any) -> Callable[[Lab], Any]:
    return lambda lab: Worker(lab.client, **{"task_queue": QUEUE, **options})


MISTAKES: dict[str, tuple[Callable[[Lab], Any], str]] = {
    # starting
    "empty id": (start(id=""), "start: workflow_id is empty"),
    "id of another type": (start(id=7), "start of 'Sleep': id is 7, but must be a text"),
    "long id": (start(id="x" * 1001), "start: workflow_id is 1001 characters long; at most 1000 are allowed"),
    "empty queue": (start(task_queue=""), "start: task_queue is empty"),
    "negative timeout": (start(run_timeout=-1), f"run_timeout: -1 is negative. {FORMS}"),
    "timeout in words": (start(execution_timeout="soon"), f"execution_timeout: 'soon' is no duration. {FORMS}"),
    "not a workflow": (
        start(workflow=NoWorkflow),
        "NoWorkflow is not a workflow: decorate the class with @workflow.defn and its method with @workflow.run",
    ),
    "an activity": (
        start(workflow=load),
        "load is not a workflow: decorate the class with @workflow.defn and its method with @workflow.run",
    ),
    "args no list": (start(arg=1, args=5), "args=5: args is a list of arguments; give one argument as arg"),
    "args a dict": (start(args={"a": 1}), "args={'a': 1}: args is a list of arguments; give one argument as arg"),
    # steering
    "no signal": (
        lambda lab: lab.client.get_workflow_handle("w").signal(Inbox.run),
        "Inbox.run is not a signal handler; decorate it with @workflow.signal",
    ),
    "no query": (
        lambda lab: lab.client.get_workflow_handle("w").query(Inbox.put),
        "Inbox.put is not a query handler; decorate it with @workflow.query",
    ),
    "nobody": (lambda lab: lab.client.get_workflow_handle("w").describe(), "workflow execution not found: 'w'"),
    # workers
    "nothing to do": (worker(), "worker on 'lab': give it at least one activity or workflow"),
    "no list": (worker(workflows=Sleep), "worker on 'lab': workflows is a list; write workflows=[Sleep]"),
    "no list either": (worker(activities=load), "worker on 'lab': activities is a list; write activities=[load]"),
    "no queue": (worker(task_queue="", workflows=[Sleep]), "worker: task_queue is empty"),
    "no room": (
        worker(workflows=[Sleep], max_concurrent_activities=0),
        "worker on 'lab': max_concurrent_activities is 0, but must be 1 or more",
    ),
    "workflow as activity": (worker(activities=[Sleep]), "Sleep is not an activity: decorate it with @activity.defn"),
    # places
    "a server": (
        lambda _: Client.connect("localhost:7233"),
        (
            "'localhost:7233' looks like the address of a server. This version of flowkernel works on "
            "a database file of its own: "
            'give a path such as "flows.duckdb", or ":memory:".'
        ),
    ),
    "a url": (lambda _: Client.connect("http://localhost"), "'http://localhost' looks like the address of a server. *"),
    "no folder": (
        lambda _: Client.connect("/nowhere/flows.duckdb"),
        "/nowhere/flows.duckdb: there is no folder /nowhere. Make the folder, or choose another file.",
    ),
    # outside of workflows and activities
    "time": (lambda _: workflow.now(), "not in workflow code: call this inside a workflow's run method or one of its handlers"),
    "durable sleep": (
        lambda _: workflow.sleep(1),
        "not in workflow code: call this inside a workflow's run method or one of its handlers",
    ),
    "info": (
        lambda _: activity.info(),
        "not in an activity: call this from a function that a worker runs as an activity",
    ),
    "heartbeat": (
        lambda _: activity.heartbeat(),
        "not in an activity: call this from a function that a worker runs as an activity",
    ),
    # definitions
    "activity timeout": (
        lambda _: activity.defn(start_to_close_timeout="soon")(load),
        f"start_to_close_timeout: 'soon' is no duration. {FORMS}",
    ),
    "backwards": (
        lambda _: activity.defn(heartbeat_timeout=timedelta(seconds=-1))(load),
        f"heartbeat_timeout: datetime.timedelta(days=-1, seconds=86399) is negative. {FORMS}",
    ),
    "no run": (lambda _: workflow.defn(NoWorkflow), "workflow class NoWorkflow: it has no @workflow.run method"),
    "retries": (
        lambda _: RetryPolicy(maximum_attempts=-1).to_model(),
        "RetryPolicy: maximum_attempts is -1; use 0 for no limit, 1 for no retries",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
async def test_mistakes(lab: Lab, mistake: str) -> None:
    make, expected = MISTAKES[mistake]
    with pytest.raises(Exception) as caught:
        await make(lab)
    text = str(caught.value)
    assert text == expected or (expected.endswith("*") and text.startswith(expected[:-1]))
    assert len(text) <= LONGEST
    assert [item async for item in lab.client.list_workflows()] == []


async def test_a_taken_id(lab: Lab) -> None:
    first = await start()(lab)
    with pytest.raises(Exception) as caught:
        await start()(lab)
    assert str(caught.value) == (
        f"Workflow execution already started: workflow 'w' is already running (run {first.result_run_id}). "
        "Choose another id, use get_workflow_handle to find that execution, or pass another id_conflict_policy or id_reuse_policy"
    )


async def test_a_closed_service() -> None:
    client = await Client.connect(":memory:")
    client.close()
    with pytest.raises(Exception, match=r"^the flowkernel service is closed; open the database again$"):
        await client.start_workflow(Sleep.run, "1m", id="w", task_queue=QUEUE)
    with pytest.raises(Exception, match=r"^the flowkernel service is closed; open the database again$"):
        await Worker(client, task_queue=QUEUE, workflows=[Sleep]).run()


FILE = Path("flows.duckdb")


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (
            DatabaseInUse(FILE, 42, "pipeline.ipynb"),
            (
                "flows.duckdb: in use by process 42 (pipeline.ipynb). A DuckDB file belongs to one process "
                "at a time: shut that kernel "
                "or program down, or choose another file with %config FlowKernel.database or FLOWKERNEL_DATABASE."
            ),
        ),
        (
            DatabaseInUse(FILE, None, None),
            (
                "flows.duckdb: in use by another process. A DuckDB file belongs to one process at a time: "
                "shut that kernel or program "
                "down, or choose another file with %config FlowKernel.database or FLOWKERNEL_DATABASE."
            ),
        ),
        (
            DatabaseReadOnly(FILE),
            "flows.duckdb: cannot be written. Make the file and its folder writable, or choose another file.",
        ),
        (
            DatabaseCorrupt(FILE, "bad header"),
            (
                "flows.duckdb: is not a readable flowkernel database (bad header). Restore it from a copy, "
                "or move it away and a new "
                "one is made."
            ),
        ),
        (
            DatabaseTooNew(FILE, 9, 1),
            "flows.duckdb: has schema version 9, this flowkernel knows up to 1. Upgrade flowkernel, or choose another file.",
        ),
        (
            WriteFailed(FILE, "no space left"),
            (
                "flows.duckdb: could not be written (no space left). What was acknowledged before stays "
                "recorded; mend the cause and "
                "open the file again."
            ),
        ),
        (ExecutionNotFound("w", "r"), "workflow execution not found: 'w' run r"),
        (ExecutionNotFound("w", closed=True), "workflow execution already completed: 'w'"),
        (
            PayloadTooLargeError("argument 'rows'", 3_145_728, 2_097_152),
            (
                "argument 'rows' takes 3 MiB; the limit is 2 MiB. Pass a path or a key instead of the data itself, or set "
                "DataConverter(payload_size_limit=...)"
            ),
        ),
        (
            PayloadTooLargeError("argument 'rows'", 1500, 900),
            (
                "argument 'rows' takes 1.5 KiB; the limit is 900 bytes. Pass a path or a key instead of the data itself, or set "
                "DataConverter(payload_size_limit=...)"
            ),
        ),
    ],
)
def test_errors_made_from_parts(error: Exception, text: str) -> None:
    assert str(error) == text
    assert len(text) <= LONGEST
