from __future__ import annotations

import collections
import dataclasses
import datetime as dt
import enum
import sys
import types
import uuid
from collections.abc import Iterable, Mapping, MutableSequence, Sequence
from typing import Annotated, Any, Final, Generic, Literal, NamedTuple, NewType, NotRequired, Optional, TypedDict, TypeVar, Union

import pydantic
import pytest
import temporalio.api.common.v1
import temporalio.converter
from hypothesis import given
from hypothesis import strategies as st
from typing_extensions import TypeAliasType

from flowkernel.converter import HintMismatchError, JSONPlainPayloadConverter, JSONTypeConverter, PayloadConverter, value_to_type

T = TypeVar("T")
Bounded = TypeVar("Bounded", bound=dt.datetime)
UserId = NewType("UserId", int)


class Colour(enum.StrEnum):
    RED = "red"


class Mixed(str, enum.Enum):  # noqa: UP042 - the older way to write it
    A = "a"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 3


Levels = TypeAliasType("Levels", list[Level])


class Bare(enum.Enum):
    ONE = 1


class Name(str):
    __slots__ = ()


@dataclasses.dataclass
class Node:
    value: int
    next: Node | None = None


@dataclasses.dataclass
class Row:
    name: str
    when: dt.datetime
    tags: set[str] = dataclasses.field(default_factory=set)
    total: float = dataclasses.field(init=False, default=0.0)


@dataclasses.dataclass(frozen=True)
class Positive:
    number: int

    def __post_init__(self) -> None:
        if self.number < 0:
            raise ValueError("must not be negative")


@dataclasses.dataclass
class Box(Generic[T]):
    content: T
    more: list[T]


class Point(NamedTuple):
    x: int
    when: dt.date


class Movie(TypedDict):
    title: str
    released: dt.datetime
    rating: NotRequired[Level]


class Model(pydantic.BaseModel):
    when: dt.datetime
    level: Level
    size: int = pydantic.Field(default=1, alias="Size")


class Strict(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(strict=True)
    when: dt.datetime
    data: bytes


TEXT = "2024-02-29T12:30:00+00:00"
MOMENT = dt.datetime(2024, 2, 29, 12, 30, tzinfo=dt.UTC)
ID = uuid.UUID("12345678-1234-5678-1234-567812345678")

# hint, JSON value, result: the same from the official SDK
SHARED: list[tuple[Any, Any, Any]] = [
    (Any, {"a": 1}, {"a": 1}),
    (int, 1.9, 1),
    (int, True, 1),
    (float, 1, 1.0),
    (bool, True, True),
    (str, "a", "a"),
    (bytes, [97, 98], b"ab"),
    (type(None), None, None),
    (dt.datetime, TEXT, MOMENT),
    (dt.datetime, "2024-02-29T12:30:00Z", MOMENT),
    (uuid.UUID, str(ID), ID),
    (Colour, "red", Colour.RED),
    (Mixed, "a", Mixed.A),
    (Level, 3, Level.HIGH),
    (UserId, 5, 5),
    (Literal["a", 1], 1, 1),
    (int | str, "5", "5"),
    (Union[dt.datetime, str], TEXT, MOMENT),  # noqa: UP007
    (Union[str, dt.datetime], TEXT, TEXT),  # noqa: UP007
    (Optional[Level], None, None),  # noqa: UP045
    (Level | None, 1, Level.LOW),
    (list, [1, "a"], [1, "a"]),
    (list[Any], [1, "a"], [1, "a"]),
    (list[Level], [1, 3], [Level.LOW, Level.HIGH]),
    (Sequence[uuid.UUID], [str(ID)], [ID]),
    (Iterable[int], [1], [1]),
    (MutableSequence[int], [1], [1]),
    (set[int], [1, 2, 1], {1, 2}),
    (frozenset[Colour], ["red"], frozenset({Colour.RED})),
    (collections.deque[int], [1, 2], collections.deque([1, 2])),
    (tuple, [1, 2], (1, 2)),
    (tuple[int, ...], [1, 2, 3], (1, 2, 3)),
    (tuple[int, Level], [1, 3], (1, Level.HIGH)),
    (dict, {"1": 2}, {"1": 2}),
    (dict[str, Any], {"a": [1]}, {"a": [1]}),
    (dict[int, Level], {"1": 3}, {1: Level.HIGH}),
    (dict[float, int], {"1.5": 3}, {1.5: 3}),
    (dict[bool, int], {"true": 3, "false": 4}, {True: 3, False: 4}),
    (dict[type(None), int], {"null": 3}, {None: 3}),
    (dict[Level, int], {"3": 4}, {Level.HIGH: 4}),
    (dict[Colour, int], {"red": 4}, {Colour.RED: 4}),
    (dict[uuid.UUID, int], {str(ID): 4}, {ID: 4}),
    (Mapping[str, set[int]], {"a": [1]}, {"a": {1}}),
    (Node, {"value": 1, "next": {"value": 2, "unknown": 3}}, Node(1, Node(2))),
    (list[Node], [{"value": 1}], [Node(1)]),
    (
        Movie,
        {"title": "x", "released": TEXT, "rating": 3, "extra": 1},
        {"title": "x", "released": MOMENT, "rating": 3, "extra": 1},
    ),
    (dict[str, list[tuple[int, Node]]], {"a": [[1, {"value": 2}]]}, {"a": [(1, Node(2))]}),
]

# hint, JSON value, result: the SDK refuses these, or needs another converter
OURS: list[tuple[Any, Any, Any]] = [
    (object, [1], [1]),
    (T, [1], [1]),
    (Bounded, TEXT, MOMENT),
    (dt.date, "2024-01-02", dt.date(2024, 1, 2)),
    (dt.time, "03:04:05", dt.time(3, 4, 5)),
    (Annotated[Level, "note"], 3, Level.HIGH),
    (Final[Level], 3, Level.HIGH),
    (dict[UserId, int], {"1": 2}, {1: 2}),
    (Box[Level], {"content": 3, "more": [1]}, Box(Level.HIGH, [Level.LOW])),
    (Point, [1, "2024-01-02"], Point(1, dt.date(2024, 1, 2))),
    (Name, "x", Name("x")),
    (bytearray, [97], bytearray(b"a")),
    (dict[str, Levels], {"a": [1]}, {"a": [Level.LOW]}),
    (dict[None, int], {"null": 3}, {None: 3}),
    (Model, {"when": TEXT, "level": 3, "Size": 2}, Model(when=MOMENT, level=Level.HIGH, Size=2)),
    (dict[str, Model], {"a": {"when": TEXT, "level": 1}}, {"a": Model(when=MOMENT, level=Level.LOW)}),
    (Strict, {"when": TEXT, "data": "ab"}, Strict(when=MOMENT, data=b"ab")),
]


@pytest.mark.parametrize(("hint", "value", "expected"), SHARED + OURS, ids=lambda case: str(case)[:60])
def test_reading(hint: Any, value: Any, expected: Any) -> None:
    for _ in range(2):  # made, then kept
        result = value_to_type(hint, value)
        assert result == expected
        assert type(result) is type(expected)


@pytest.mark.parametrize(("hint", "value", "expected"), SHARED, ids=lambda case: str(case)[:60])
def test_the_official_sdk_reads_the_same(hint: Any, value: Any, expected: Any) -> None:
    assert temporalio.converter.value_to_type(hint, value) == expected


MISFITS: list[tuple[Any, Any, str]] = [
    (int, "1", "expected int, found str"),
    (float, None, "expected float, found NoneType"),
    (bool, 1, "expected bool, found int"),
    (str, 1, "expected str, found int"),
    (bytes, "ab", "expected a list of byte values for bytes, found str"),
    (type(None), 0, "expected NoneType, found int"),
    (dt.datetime, "soon", "'soon' is no ISO 8601 datetime"),
    (dt.datetime, 5, "expected an ISO 8601 text for datetime, found int"),
    (Literal["a", "b"], "c", "expected Literal['a', 'b'], found 'c'"),
    (int | None, "x", "no member of int | None fits a value of type str"),
    (Level, 2, "2 is not a valid Level"),
    (Level, "3", "Level, found str"),
    (Colour, 3, "Colour, found int"),
    (uuid.UUID, "no", "badly formed hexadecimal UUID string"),
    (list[int], {"a": 1}, "expected list[int], found dict"),
    (list[int], [1, "x"], "at [1]: expected int, found str"),
    (tuple[int, int], [1, 2, 3], "expected 2 items for tuple[int, int], found more"),
    (dict[str, int], [1], "expected dict[str, int], found list"),
    (dict[str, list[int]], {"a": [1, None]}, "at ['a'][1]: expected int, found NoneType"),
    (dict[int, int], {"a": 1}, "at ['a']: ValueError: invalid literal"),
    (dict[bool, int], {"yes": 1}, "at ['yes']: expected bool, found str"),
    (list[Row], [{"name": "a", "when": 3}], "at [0].when: expected an ISO 8601 text for datetime, found int"),
    (Row, {"name": "a"}, "missing 1 required positional argument: 'when'"),
    (Row, [], "Row, found list"),
    (Positive, {"number": -1}, "Positive refuses the value: must not be negative"),
    (Movie, {"released": 1}, "at ['released']: expected an ISO 8601 text"),
    (Point, [1, 2], "at [1]: expected an ISO 8601 text for date, found int"),
    (Point, [1], "missing 1 required positional argument"),
    (Model, {"when": TEXT}, "Model refuses the value: 1 validation error"),
    (Bare, 1, "is no type that JSON values can be read as; use JSON types, a dataclass, an IntEnum"),
    (types.ModuleType, 1, "module is no type that JSON values can be read as"),
]


@pytest.mark.parametrize(("hint", "value", "text"), MISFITS, ids=lambda case: str(case)[:60])
def test_misfits_say_where_and_what(hint: Any, value: Any, text: str) -> None:
    with pytest.raises(HintMismatchError) as refused:
        value_to_type(hint, value)
    assert text in str(refused.value)
    assert isinstance(refused.value, TypeError)
    if hint not in {Point, Model}:  # a list and a deprecated method in the official SDK, which refuses the others too
        with pytest.raises((TypeError, ValueError, AttributeError)):
            temporalio.converter.value_to_type(hint, value)


def test_a_text_is_no_list_of_letters() -> None:
    assert value_to_type(list[str] | str, "abc") == "abc"
    with pytest.raises(HintMismatchError, match=r"expected list\[str\], found str"):
        value_to_type(list[str], "abc")


def test_fields_that_init_does_not_take_are_restored() -> None:
    row = Row("a", MOMENT, {"x"})
    row.total = 2.5
    converter = PayloadConverter.default
    assert converter.from_payload(converter.to_payload(row), Row) == row


def test_members_of_a_union_are_tried_in_order_although_unions_are_equal() -> None:
    assert (int | float) == (float | int)
    assert type(value_to_type(float | int, 1)) is float
    assert type(value_to_type(int | float, 1)) is int


class Celsius:
    def __init__(self, degrees: float) -> None:
        self.degrees = degrees


class CelsiusConverter(JSONTypeConverter):
    def to_typed_value(self, hint: type, value: Any) -> Any:
        return Celsius(value) if hint is Celsius and value is not None else JSONTypeConverter.Unhandled


def test_an_authors_rule_is_asked_first_at_every_level() -> None:
    converter = JSONPlainPayloadConverter(custom_type_converters=[CelsiusConverter()])
    payload = converter.to_payload({"a": [20.5, None]})
    assert payload is not None
    read = converter.from_payload(payload, dict[str, list[Celsius | None]])  # type: ignore[arg-type]
    assert read["a"][0].degrees == 20.5
    assert read["a"][1] is None
    assert value_to_type(list[Celsius], [1], [CelsiusConverter()])[0].degrees == 1
    with pytest.raises(HintMismatchError, match="or a JSONTypeConverter for it"):
        value_to_type(Celsius, 1)


def test_a_notebook_may_define_its_classes_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    notebook = types.ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", notebook)
    exec(  # like two cells
        "from __future__ import annotations\nimport dataclasses\n"
        "@dataclasses.dataclass\nclass Inner:\n    a: int\n"
        "@dataclasses.dataclass\nclass Outer:\n    inner: Inner\n",
        notebook.__dict__,
    )
    outer = notebook.Outer
    assert value_to_type(outer, {"inner": {"a": 1}}).inner.a == 1
    exec("@dataclasses.dataclass\nclass Inner:\n    b: str\n", notebook.__dict__)
    assert value_to_type(outer, {"inner": {"b": "x"}}).inner.b == "x"


def test_an_annotation_that_is_not_defined() -> None:
    @dataclasses.dataclass
    class Lost:
        here: NowhereToBeFound  # type: ignore[name-defined] # noqa: F821

    with pytest.raises(HintMismatchError, match=r"an annotation of .*Lost is not defined: name 'NowhereToBeFound'"):
        value_to_type(Lost, {"here": 1})


@given(
    st.lists(
        st.builds(
            Row,
            st.text(),
            st.datetimes(timezones=st.just(dt.UTC)),
            st.sets(st.text()),
        )
    ),
    st.dictionaries(st.integers(), st.uuids() | st.none()),
    st.dictionaries(st.sampled_from(Level), st.tuples(st.dates(), st.binary(), st.floats(allow_nan=False))),
)
def test_typed_values_come_back(rows: list[Row], ids: dict[int, uuid.UUID | None], levels: dict[Level, Any]) -> None:
    converter = PayloadConverter.default
    hints: list[Any] = [list[Row], dict[int, uuid.UUID | None], dict[Level, tuple[dt.date, bytes, float]]]
    assert converter.from_payloads(converter.to_payloads([rows, ids, levels]), hints) == [rows, ids, levels]


@given(st.lists(st.builds(Row, st.text(), st.datetimes(timezones=st.just(dt.UTC)), st.sets(st.text()))))
def test_the_official_converter_reads_what_is_written_here(rows: list[Row]) -> None:
    payload = PayloadConverter.default.to_payload(rows)
    theirs = temporalio.api.common.v1.Payload(metadata=dict(payload.metadata), data=payload.data)
    hint: Any = list[Row]
    assert temporalio.converter.PayloadConverter.default.from_payload(theirs, hint) == rows
