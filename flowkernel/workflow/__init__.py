"""For workflow code: define workflows, call activities, wait, and know about the run. Named as in Temporal's Python SDK.

Workflow code is deterministic: it asks for everything with an effect, and gets the same answers in every replay. asyncio works in
it (``gather``, ``wait_for``, ``TaskGroup``, ``timeout``, ``Event``, ``Lock``, ``Queue``, ``create_task``); ``asyncio.sleep`` is a
durable timer. Files, sockets, threads and the clock belong in activities.
"""

from __future__ import annotations

from flowkernel.replay.activities import ActivityHandle
from flowkernel.replay.definitions import HandlerUnfinishedPolicy
from flowkernel.replay.errors import NondeterminismError, NotInWorkflowError, ReadOnlyContextError, UnsupportedInWorkflow
from flowkernel.replay.info import Info
from flowkernel.replay.options import ActivityCancellationType
from flowkernel.replay.signals import UnfinishedSignalHandlersWarning
from flowkernel.workflow._activities import (
    ActivityConfig,
    execute_activity,
    execute_activity_class,
    execute_activity_method,
    start_activity,
    start_activity_class,
    start_activity_method,
)
from flowkernel.workflow._context import (
    cancellation_reason,
    in_workflow,
    info,
    instance,
    is_failure_exception,
    memo,
    memo_value,
    new_random,
    now,
    payload_converter,
    random,
    random_seed,
    sleep,
    time,
    time_ns,
    uuid4,
    uuid7,
    wait_condition,
)
from flowkernel.workflow._definition import defn, init, query, run, signal
from flowkernel.workflow._handlers import (
    all_handlers_finished,
    get_dynamic_query_handler,
    get_dynamic_signal_handler,
    get_query_handler,
    get_signal_handler,
    receive,
    set_dynamic_query_handler,
    set_dynamic_signal_handler,
    set_query_handler,
    set_signal_handler,
)
from flowkernel.workflow._logging import LoggerAdapter, logger, unsafe
from flowkernel.workflow._waiting import as_completed, wait

__all__ = [
    "ActivityCancellationType",
    "ActivityConfig",
    "ActivityHandle",
    "HandlerUnfinishedPolicy",
    "Info",
    "LoggerAdapter",
    "NondeterminismError",
    "NotInWorkflowError",
    "ReadOnlyContextError",
    "UnfinishedSignalHandlersWarning",
    "UnsupportedInWorkflow",
    "all_handlers_finished",
    "as_completed",
    "cancellation_reason",
    "defn",
    "execute_activity",
    "execute_activity_class",
    "execute_activity_method",
    "get_dynamic_query_handler",
    "get_dynamic_signal_handler",
    "get_query_handler",
    "get_signal_handler",
    "in_workflow",
    "info",
    "init",
    "instance",
    "is_failure_exception",
    "logger",
    "memo",
    "memo_value",
    "new_random",
    "now",
    "payload_converter",
    "query",
    "random",
    "random_seed",
    "receive",
    "run",
    "set_dynamic_query_handler",
    "set_dynamic_signal_handler",
    "set_query_handler",
    "set_signal_handler",
    "signal",
    "sleep",
    "start_activity",
    "start_activity_class",
    "start_activity_method",
    "time",
    "time_ns",
    "unsafe",
    "uuid4",
    "uuid7",
    "wait",
    "wait_condition",
]
