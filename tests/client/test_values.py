"""Values on their way: types, converters, codecs, limits; and failures as clients see them."""

from __future__ import annotations

import asyncio
import dataclasses
import enum
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypedDict
from uuid import UUID

import msgspec
import pytest
from laboratory import Call, Gate, Inbox, Lab, causes, events_of, named

from flowkernel import activity, workflow
from flowkernel.client import Client, WorkflowFailureError, WorkflowQueryFailedError
from flowkernel.converter import (
    CompositePayloadConverter,
    DataConverter,
    DefaultPayloadConverter,
    EncodingPayloadConverter,
    Payload,
    PayloadCodec,
    PayloadTooLargeError,
)
from flowkernel.exceptions import ActivityError, ApplicationError, CancelledError

pytestmark = pytest.mark.anyio


# --- types ----------------------------------------------------------------------------------------------------------


class Colour(enum.StrEnum):
    RED = "red"


class Row(TypedDict):
    name: str
    when: datetime


@dataclass
class Order:
    id: UUID
    rows: list[Row]
    colour: Colour
    parent: Order | None = None


ORDER = Order(
    UUID(int=7),
    [{"name": "tea", "when": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)}],
    Colour.RED,
    Order(UUID(int=8), [], Colour.RED),
)


@activity.defn
async def check(order: Order, others: dict[str, Order]) -> tuple[Order, int]:
    assert type(order.id) is UUID
    assert type(order.rows[0]["when"]) is datetime
    assert order.colour is Colour.RED
    assert isinstance(others["a"], Order)
    return order, len(others)


@workflow.defn
class Types:
    @workflow.run
    async def run(self, order: Order) -> Order:
        checked, number = await workflow.execute_activity(check, args=[order, {"a": order}], start_to_close_timeout=10)
        assert number == 1
        return checked


async def test_types_survive_the_whole_way(lab: Lab) -> None:
    async with lab.worker(Types, check):
        handle = await lab.start(Types.run, ORDER)
        result = await handle.result()
    assert result == ORDER
    assert type(result.parent) is Order


@workflow.defn
class Unreadable:
    @workflow.run
    async def run(self, order: Order) -> None: ...


async def test_input_that_does_not_fit_suspends(lab: Lab) -> None:
    async with lab.worker(Unreadable):
        handle = await lab.start("Unreadable", {"id": 3})
        failed = await lab.event(handle, "WorkflowTaskFailed")
    assert failed.failure.message.startswith("Failed decoding arguments: payload 1 (json/plain) cannot be read as ")
    assert failed.failure.message.endswith("Order: at .id: expected uuid.UUID, found int")


# --- a converter ----------------------------------------------------------------------------------------------------


class Money:
    def __init__(self, cents: int) -> None:
        self.cents = cents


class MoneyConverter(EncodingPayloadConverter):
    @property
    def encoding(self) -> str:
        return "text/money"

    def to_payload(self, value: Any) -> Payload | None:
        if not isinstance(value, Money):
            return None
        return Payload(metadata={"encoding": b"text/money"}, data=str(value.cents).encode())

    def from_payload(self, payload: Payload, type_hint: type | None = None) -> Any:
        return Money(int(payload.data))


class WithMoney(CompositePayloadConverter):
    def __init__(self) -> None:
        super().__init__(MoneyConverter(), *DefaultPayloadConverter().converters.values())


@activity.defn
def double(money: Money) -> Money:
    return Money(2 * money.cents)


@workflow.defn
class Pays:
    @workflow.run
    async def run(self, money: Money) -> Money:
        return await workflow.execute_activity(double, money, start_to_close_timeout=10)


async def test_a_converter_of_the_authors(lab: Lab) -> None:
    client = Client(lab.client.service, data_converter=DataConverter(payload_converter_class=WithMoney))
    async with lab.worker(Pays, double, client=client):
        handle = await lab.start(Pays.run, Money(21), client=client)
        assert (await handle.result()).cents == 42
    first = (await handle.fetch_history()).events[0]
    assert first.attributes.input[0] == Payload(metadata={"encoding": b"text/money"}, data=b"21")


# --- a codec --------------------------------------------------------------------------------------------------------


class Zipped(PayloadCodec):
    """Compresses, and hides what it compressed."""

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return [
            Payload({"encoding": b"binary/zip"}, zlib.compress(msgspec.msgpack.encode((p.metadata, p.data)))[::-1])
            for p in payloads
        ]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return [self._decode(p) if p.metadata.get("encoding") == b"binary/zip" else p for p in payloads]

    @staticmethod
    def _decode(payload: Payload) -> Payload:
        return Payload(*msgspec.msgpack.decode(zlib.decompress(payload.data[::-1]), type=tuple[dict[str, bytes], bytes]))


@activity.defn
def in_thread(secret: str) -> str:
    if activity.info().attempt == 1:
        activity.heartbeat("secret beat")
        raise ApplicationError("again", "secret detail")
    assert activity.info().heartbeat_details == ["secret beat"]
    return f"{secret} thread"


@activity.defn
async def on_loop(secret: str) -> str:
    if activity.info().attempt == 1:
        activity.heartbeat("secret beat")
        raise ApplicationError("again", "secret detail")
    assert activity.info().heartbeat_details == ["secret beat"]
    return f"{secret} loop"


@activity.defn(in_process=True)
def in_process(secret: str) -> str:
    if activity.info().attempt == 1:
        activity.heartbeat("secret beat")
        raise ApplicationError("again", "secret detail")
    assert activity.info().heartbeat_details == ["secret beat"]
    return f"{secret} process"


@activity.defn
async def fails(secret: str) -> None:
    raise ApplicationError("no", secret, {"more": secret}, non_retryable=True)


gate = Gate()


@activity.defn
async def is_cancelled_with(secret: str) -> None:
    await gate.pass_through()
    activity.heartbeat(secret)
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        raise CancelledError("stopped", secret) from None


@activity.defn
def hands_over() -> None:
    activity.raise_complete_async()


@workflow.defn
class Secret:
    def __init__(self) -> None:
        self.words: list[str] = []

    @workflow.run
    async def run(self, secret: str) -> list[str]:
        await workflow.wait_condition(lambda: bool(self.words))
        for step in ("in_thread", "on_loop", "in_process"):
            self.words.append(await workflow.execute_activity(step, secret, start_to_close_timeout="1h"))
        self.words.append(await workflow.execute_activity("hands_over", start_to_close_timeout="1h", activity_id="mine"))
        self.words.append(workflow.memo_value("memo"))
        return self.words

    @workflow.signal
    def say(self, word: str) -> None:
        self.words.append(word)

    @workflow.query
    def said(self, suffix: str) -> list[str]:
        if suffix == "fail":
            raise ApplicationError("query failed", "secret answer")
        return [word + suffix for word in self.words]


@pytest.fixture
def zipped(lab: Lab) -> Client:
    converter = dataclasses.replace(DataConverter.default, payload_codec=Zipped())
    base = lab.client
    return type(base)(base.service, base._clock, data_converter=converter)


async def stored(handle: Any) -> bytes:
    """All payloads in a history, one after the other."""
    history = await handle.fetch_history(with_records=True)
    return b" ".join(payloads_in((history.events, history.records)))


def payloads_in(value: Any) -> list[bytes]:
    if isinstance(value, Payload):
        return [*value.metadata.values(), value.data]
    if isinstance(value, msgspec.Struct):
        value = msgspec.structs.astuple(value)
    elif isinstance(value, dict):
        value = tuple(value.values())
    return [data for item in value for data in payloads_in(item)] if isinstance(value, tuple) else []


async def test_a_codec_sees_every_payload(lab: Lab, zipped: Client) -> None:
    code = (Secret, in_thread, on_loop, in_process, hands_over)
    async with lab.worker(*code, client=zipped, default_heartbeat_throttle_interval=timedelta(0), max_cached_workflows=1):
        other = await lab.start(Secret.run, "secret", client=zipped)
        handle = await lab.start(
            Secret.run, "secret", client=zipped, memo={"memo": "secret memo"}, static_summary="secret summary"
        )
        await handle.signal(Secret.say, "secret word")
        await lab.event(other, "WorkflowTaskCompleted")
        await lab.seen_in_time(handle, named("ActivityAttemptReleased"))
        by_hand = zipped.get_async_activity_handle(workflow_id=handle.id, activity_id="mine")
        await by_hand.heartbeat("secret by hand")
        await by_hand.complete("secret completion")
        words = ["secret word", "secret thread", "secret loop", "secret process", "secret completion", "secret memo"]
        assert await handle.result() == words
        assert await handle.query(Secret.said, "!") == [f"{word}!" for word in words]
        with pytest.raises(WorkflowQueryFailedError, match="query failed") as caught:
            await handle.query(Secret.said, "fail")
        assert list(caught.value.__cause__.details) == ["secret answer"]
        assert await (await handle.describe()).static_summary() == "secret summary"
    kept = await stored(handle)
    assert b"binary/zip" in kept
    assert b"secret" not in kept


async def test_failures_and_cancellation_with_a_codec(lab: Lab, zipped: Client) -> None:
    async with lab.worker(Call, fails, is_cancelled_with, client=zipped, default_heartbeat_throttle_interval=timedelta(0)):
        handle = await lab.start(Call.run, "fails", ["secret"], {}, client=zipped)
        error, cause = await causes(handle.result())
        assert isinstance(error, ActivityError)
        assert list(cause.details) == ["secret", {"more": "secret"}]
        assert b"secret" not in await stored(handle)
        options = {"cancellation_type": "WAIT_CANCELLATION_COMPLETED", "start_to_close_timeout": "1h"}
        handle = await lab.start(Call.run, "is_cancelled_with", ["secret"], options, client=zipped)
        await gate.arrived()
        await handle.cancel()
        await lab.event(handle, "ActivityTaskCancelRequested")
        gate.open()
        (error,) = await causes(handle.result())
        assert isinstance(error, CancelledError)
        canceled = await lab.event(handle, "ActivityTaskCanceled")
        assert await zipped.data_converter.decode(canceled.details) == ["secret"]
        assert b"secret" not in await stored(handle)


# --- limits ---------------------------------------------------------------------------------------------------------

BIG = "x" * 3_000_000


@activity.defn
def makes(size: int) -> str:
    return "x" * size


@activity.defn
async def reads(before: int, text: str) -> int:
    return len(text)


@workflow.defn
class Passes:
    @workflow.run
    async def run(self, size: int) -> Any:
        if size < 0:
            return "x" * -size
        return await workflow.execute_activity(reads, args=[1, "x" * size], start_to_close_timeout=10)


async def test_arguments_that_are_too_large_start_nothing(lab: Lab) -> None:
    with pytest.raises(PayloadTooLargeError) as caught:
        await lab.start(Call.run, "a", [BIG], {})
    assert str(caught.value) == (
        "workflow 'Call': argument 'args' takes 2.9 MiB; the limit is 2 MiB. "
        "Pass a path or a key instead of the data itself, or set DataConverter(payload_size_limit=...)"
    )
    with pytest.raises(PayloadTooLargeError, match=r"memo 'm' takes 2.9 MiB"):
        await lab.start(Call.run, "a", [], {}, memo={"m": BIG})
    assert [item async for item in lab.client.list_workflows()] == []
    handle = await lab.start(Inbox.run)
    with pytest.raises(PayloadTooLargeError, match=r"signal 'put': argument 'message' takes 2.9 MiB"):
        await handle.signal(Inbox.put, BIG)
    assert "WorkflowExecutionSignaled" not in await events_of(handle)


async def test_what_an_activity_returns(lab: Lab) -> None:
    async with lab.worker(Call, makes):
        assert len(await lab.call(makes, 2_000_000)) == 2_000_000
        _, cause = await causes(lab.call(makes, 2 * 1024 * 1024))
    assert (cause.type, cause.non_retryable) == ("PayloadTooLargeError", True)
    assert cause.message.startswith("activity 'makes': its result takes 2 MiB; the limit is 2 MiB.")


async def test_what_a_workflow_gives(lab: Lab) -> None:
    async with lab.worker(Passes, reads):
        handle = await lab.start(Passes.run, 3_000_000)
        failed = await lab.event(handle, "WorkflowTaskFailed")
        assert failed.failure.message.startswith("activity 'reads': argument 2 of 2 takes 2.9 MiB; the limit is 2 MiB.")
        handle = await lab.start(Passes.run, -3_000_000)
        failed = await lab.event(handle, "WorkflowTaskFailed")
        assert failed.failure.message.startswith("workflow 'Passes': its result takes 2.9 MiB; the limit is 2 MiB.")


async def test_the_limit_can_be_changed(lab: Lab) -> None:
    base = lab.client
    for limit in (None, 4 * 1024 * 1024):
        converter = dataclasses.replace(DataConverter.default, payload_size_limit=limit)
        client = type(base)(base.service, base._clock, data_converter=converter)
        async with lab.worker(Passes, reads, client=client):
            assert await (await lab.start(Passes.run, 3_000_000, client=client)).result() == 3_000_000


# --- failures -------------------------------------------------------------------------------------------------------


@activity.defn
def fails_deep() -> None:
    try:
        try:
            {}["key"]
        except KeyError as error:
            raise ValueError("bad value") from error
    except ValueError as error:
        raise ApplicationError("cannot load", {"row": 3}, type="LoadError", non_retryable=True) from error


@workflow.defn
class WrapsFailure:
    @workflow.run
    async def run(self) -> None:
        try:
            await workflow.execute_activity(fails_deep, start_to_close_timeout=10)
        except ActivityError as error:
            raise ApplicationError("the order failed", type="OrderError") from error


async def test_the_whole_chain_reaches_the_client(lab: Lab) -> None:
    async with lab.worker(WrapsFailure, fails_deep):
        handle = await lab.start(WrapsFailure.run)
        with pytest.raises(WorkflowFailureError, match="Workflow execution failed"):
            await handle.result()
        chain = await causes(handle.result())
    assert [type(error).__name__ for error in chain] == [
        "ApplicationError",
        "ActivityError",
        "ApplicationError",
        "ApplicationError",
        "ApplicationError",
    ]
    assert [str(error) for error in chain] == [
        "OrderError: the order failed",
        "Activity task failed",
        "LoadError: cannot load",
        "ValueError: bad value",
        "KeyError: 'key'",
    ]
    assert list(chain[2].details) == [{"row": 3}]
    assert 'raise ValueError("bad value") from error' in chain[3].failure.stack_trace
