from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from flowkernel import workflow
from flowkernel.common import RawValue
from flowkernel.replay.definitions import ACTIVITY_MARK, ActivityDefinition, HandlerDefinition, WorkflowDefinition
from flowkernel.replay.options import ActivityOptions


@dataclass
class Order:
    item: str
    count: int = 1


@workflow.defn(name="orders", failure_exception_types=[KeyError])
class Orders:
    @workflow.init
    def __init__(self, order: Order, note: str) -> None:
        self.seen = f"{order.item}/{note}"

    @workflow.run
    async def run(self, order: Order, note: str) -> list[str]:
        return [self.seen, type(order).__name__]

    @workflow.signal
    def stop(self) -> None: ...

    @workflow.query(description="how far it is")
    def progress(self) -> float:
        return 0.5


@workflow.defn(dynamic=True)
class Anything:
    @workflow.run
    async def run(self, args: Sequence[RawValue]) -> list[object]:
        return [workflow.info().workflow_type, *(workflow.payload_converter().from_payload(arg.payload) for arg in args)]


def test_a_definition_holds_what_the_class_says():
    definition = WorkflowDefinition.of(Orders)
    assert WorkflowDefinition.of(Orders.run) is definition
    assert (definition.name, definition.arg_types, definition.ret_type) == ("orders", [Order, str], list[str])
    assert definition.failure_exception_types == (KeyError,)
    assert set(definition.signals) == {"stop"}
    assert definition.queries["progress"].description == "how far it is"
    assert WorkflowDefinition.name_of(Orders) == WorkflowDefinition.name_of(Orders.run) == "orders"
    assert WorkflowDefinition.name_of("other") == "other"
    assert HandlerDefinition.signal_of(Orders.stop).name == "stop"
    assert HandlerDefinition.query_of(Orders.progress).ret_type is float


def test_init_and_run_get_the_typed_input(drive):
    driver = drive(Orders, {"item": "tea"}, "hot")
    assert driver.value(driver.task()) == ["tea/hot", "Order"]


def test_a_dynamic_workflow_gets_raw_values(drive):
    driver = drive(Anything, 1, "two")
    assert driver.value(driver.task()) == ["dynamic", 1, "two"]


def test_classes_may_be_local():
    @workflow.defn
    class Local:
        @workflow.run
        async def run(self) -> None: ...

    assert WorkflowDefinition.of(Local).name == "Local"


class Base:
    @workflow.run
    async def run(self) -> None: ...

    @workflow.signal
    def poke(self) -> None: ...


def no_run():
    class Bad: ...

    return Bad


def two_runs():
    class Bad:
        @workflow.run
        async def one(self) -> None: ...

        @workflow.run
        async def two(self) -> None: ...

    return Bad


def inherited_run():
    class Bad(Base): ...

    return Bad


def bare_override():
    class Bad(Base):
        @workflow.run
        async def run(self) -> None: ...

        def poke(self) -> None: ...

    return Bad


def same_signal_twice():
    class Bad:
        @workflow.run
        async def run(self) -> None: ...

        @workflow.signal
        def poke(self) -> None: ...

        @workflow.signal(name="poke")
        def prod(self) -> None: ...

    return Bad


def other_init():
    class Bad:
        @workflow.init
        def __init__(self, a: int) -> None: ...

        @workflow.run
        async def run(self, a: str) -> None: ...

    return Bad


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (no_run, "it has no @workflow.run method"),
        (two_runs, "it has 2 @workflow.run methods: one, two"),
        (inherited_run, "its @workflow.run method run is inherited: define it on the class itself"),
        (bare_override, "poke overrides a @workflow.signal method of Base: decorate it too"),
        (same_signal_twice, "prod and poke both handle the signal 'poke'"),
        (other_init, "the parameters of its @workflow.init and @workflow.run methods differ"),
    ],
)
def test_a_class_that_breaks_a_rule(make, text):
    with pytest.raises(TypeError) as caught:
        workflow.defn(make())
    assert str(caught.value) == f"workflow class {make.__name__}.<locals>.Bad: {text}"


def test_decorators_refuse_what_cannot_work():
    with pytest.raises(TypeError, match="must be declared with async def"):
        workflow.run(lambda self: None)  # type: ignore[arg-type]

    async def keyword_only(self, *, flag: bool) -> None: ...

    with pytest.raises(TypeError, match="keyword-only parameter 'flag' without a default"):
        workflow.run(keyword_only)

    def dynamic(self, name: str) -> None: ...

    with pytest.raises(TypeError, match=r"dynamic handler, so it takes a name annotated str"):
        workflow.signal(dynamic=True)(dynamic)
    with pytest.raises(ValueError, match="a dynamic handler takes every name"):
        workflow.query(name="x", dynamic=True)(dynamic)
    with pytest.raises(ValueError, match="a dynamic workflow takes every name"):
        workflow.defn(name="x", dynamic=True)
    with pytest.raises(TypeError, match="belongs on __init__"):
        workflow.init(dynamic)
    with pytest.raises(TypeError, match=r"decorated with @workflow.defn twice"):
        workflow.defn(Orders)
    with pytest.raises(TypeError, match="Base is not a workflow"):
        WorkflowDefinition.of(Base)


def test_a_subclass_is_no_workflow_by_itself():
    class Special(Orders): ...

    with pytest.raises(TypeError, match="inherits from a workflow but is none itself"):
        WorkflowDefinition.of(Special)


def test_an_annotation_that_cannot_be_found_is_named():
    def handler(self, thing: Missing) -> None: ...  # noqa: F821

    with pytest.raises(TypeError, match=r"an annotation of .*handler cannot be resolved .*'Missing'.*top level"):
        workflow.signal(handler)


# --- activities -------------------------------------------------------------------------------------------------------


class Shop:
    def __init__(self, name: str) -> None:
        self.name = name

    def charge(self, amount: int) -> str:
        return f"{self.name}:{amount}"

    async def __call__(self) -> str:
        return self.name


setattr(Shop.charge, ACTIVITY_MARK, ActivityDefinition.make(Shop.charge, name="charge it"))
setattr(Shop.__call__, ACTIVITY_MARK, ActivityDefinition.make(Shop.__call__, name="shop"))


def test_activity_definitions_bind_to_their_object():
    bound = ActivityDefinition.of(Shop("corner").charge)
    assert (bound.name, bound.is_async, bound.arg_types, bound.fn(5)) == ("charge it", False, [int], "corner:5")
    called = ActivityDefinition.of(Shop("corner"))
    assert (called.name, called.is_async) == ("shop", True)
    assert ActivityDefinition.name_of(Shop.charge) == "charge it"
    assert ActivityDefinition.name_of("plain") == "plain"


def test_activities_that_cannot_work_are_refused():
    def keyword_only(*, flag: bool) -> None: ...

    with pytest.raises(TypeError, match="keyword-only parameter 'flag'"):
        ActivityDefinition.make(keyword_only)
    with pytest.raises(TypeError, match=r"annotated Sequence\[common.RawValue\]"):
        ActivityDefinition.make(lambda: None, dynamic=True)
    with pytest.raises(TypeError, match="print is not an activity: decorate it"):
        ActivityDefinition.of(print)


def test_options_fill_each_other_in():
    own = ActivityOptions.parse(start_to_close_timeout="5s")
    merged = own.over(ActivityOptions.parse(start_to_close_timeout="1h", heartbeat_timeout=2))
    assert (merged.start_to_close_timeout, merged.heartbeat_timeout) == (5_000_000_000, 2_000_000_000)
