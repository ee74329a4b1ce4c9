from __future__ import annotations

import collections
import dataclasses
import datetime as dt
import enum
import json
import math
import re
import subprocess
import sys
import threading
import types
import uuid
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pydantic
import pytest
import temporalio.api.common.v1
import temporalio.converter
from hypothesis import given
from hypothesis import strategies as st

from flowkernel.common import RawValue
from flowkernel.converter import (
    AdvancedJSONEncoder,
    BinaryNullPayloadConverter,
    CompositePayloadConverter,
    DefaultPayloadConverter,
    EncodingPayloadConverter,
    JSONPlainPayloadConverter,
    Payload,
    PayloadConverter,
    PayloadNotConvertibleError,
    UnknownEncodingError,
    ValueNotConvertibleError,
)

converter = PayloadConverter.default
official = temporalio.converter.DefaultPayloadConverter()

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


class Colour(enum.StrEnum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


class Mixed(str, enum.Enum):  # noqa: UP042 - the older way to write it
    A = "a"


class Bare(enum.Enum):
    ONE = 1


class Point(NamedTuple):
    x: int
    y: int


@dataclasses.dataclass
class Row:
    name: str
    when: dt.datetime
    tags: set[str] = dataclasses.field(default_factory=set)


def stable_name(value: object) -> str:
    """A test's name: the same in every process, so without addresses."""
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))


class WithDict:
    def dict(self) -> dict[str, int]:
        return {"made": 1}


MOMENT = dt.datetime(2024, 2, 29, 12, 30, tzinfo=dt.UTC)
ID = uuid.UUID("12345678-1234-5678-1234-567812345678")


def as_official(payload: Payload) -> temporalio.api.common.v1.Payload:
    return temporalio.api.common.v1.Payload(metadata=dict(payload.metadata), data=payload.data)


@given(json_values)
def test_json_values_come_back(value: Any) -> None:
    payload = converter.to_payload(value)
    assert converter.from_payload(payload) == value
    assert official.from_payload(as_official(payload)) == value


@given(json_values)
def test_what_the_official_converter_wrote_is_read(value: Any) -> None:
    payload = official.to_payload(value)
    assert converter.from_payload(Payload(dict(payload.metadata), payload.data)) == value


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"\x00\xff",
        "text ü 😀",
        "\ud800",  # half of a surrogate pair
        ["\ud83d\ude00", ("\udfff",)],
        True,
        1.5,
        -0.0,
        1e308,
        math.inf,
        2**200,
        -(2**63) - 1,
        {"b": 1, "a": {"d": 1, "c": 2}},
        {1: "int key", 2: "x"},
        {True: 1},
        {None: 1},
        {1.5: 1},
        {Level.HIGH: 1},
        {Colour.RED: 1},
        (1, "two", (3,)),
        {1},
        frozenset({"a"}),
        collections.deque([1, 2]),
        range(3),
        Colour.RED,
        Level.HIGH,
        Mixed.A,
        [Colour.RED, Level.HIGH, Mixed.A],
        Point(1, 2),
        MOMENT,
        {"when": MOMENT},
        ID,
        [ID],
        {"nested": b"ab"},
        bytearray(b"ab"),
        memoryview(b"ab"),
        Row("a", MOMENT, {"x"}),
        [Row("a", MOMENT)],
        collections.OrderedDict(b=1, a=2),
        collections.Counter("aab"),
        collections.defaultdict(list, {"a": [1]}),
        WithDict(),
        {"deep": [WithDict(), {1, 2, 3}]},
        np.float64(1.5),
        pd.Timestamp("2024-01-01"),
    ],
    ids=stable_name,
)
def test_values_are_written_with_the_official_meaning(value: Any) -> None:
    own, theirs = converter.to_payload(value), official.to_payload(value)
    assert dict(own.metadata) == dict(theirs.metadata)
    if own.metadata["encoding"] == b"json/plain":
        assert json.loads(own.data) == json.loads(theirs.data)
    else:
        assert own.data == theirs.data


def test_nan_is_not_silently_null() -> None:
    assert math.isnan(converter.from_payload(converter.to_payload(math.nan)))
    assert b"NaN" in converter.to_payload({"a": [math.nan]}).data


def test_equal_values_give_equal_bytes() -> None:
    assert (
        converter.to_payload({"b": 1, "a": "é"}).data
        == converter.to_payload({"a": "é", "b": 1}).data
        == '{"a":"é","b":1}'.encode()
    )
    assert converter.to_payload({"a": ("é",)}).data == '{"a":["é"]}'.encode()


def test_mappings_keep_their_values() -> None:
    for mapping in (types.MappingProxyType({"a": 1}), collections.ChainMap({"a": 1}), collections.UserDict({"a": 1})):
        assert json.loads(converter.to_payload(mapping).data) == {"a": 1}


def test_dates_and_times() -> None:
    assert converter.to_payload({"d": dt.date(2024, 1, 2), "t": dt.time(3, 4)}).data == b'{"d":"2024-01-02","t":"03:04:00"}'


def test_an_iterator_is_consumed_once() -> None:
    def letters() -> Iterator[str]:
        yield "a"
        yield "\ud800"

    assert converter.from_payload(converter.to_payload(letters())) == ["a", "\ud800"]


def test_pydantic_models_without_a_special_converter() -> None:
    class Model(pydantic.BaseModel):
        when: dt.datetime
        size: int = pydantic.Field(alias="Size")

    payload = converter.to_payload({"m": [Model(when=MOMENT, Size=2)]})
    assert json.loads(payload.data) == {"m": [{"when": "2024-02-29T12:30:00Z", "Size": 2}]}


GENERAL = (
    "Pass JSON types (dict, list, str, int, float, bool, None), bytes, a dataclass or a pydantic model, "
    "or give DataConverter a payload_converter_class that takes this type"
)


def circular() -> list[Any]:
    loop: list[Any] = []
    loop.append(loop)
    return loop


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (object(), f"value of type object cannot be converted: it has no JSON form. {GENERAL}"),
        (
            {"rows": [1, {"lock": threading.Lock()}]},
            f"value cannot be converted: ['rows'][1]['lock'] is of type _thread.lock and has no JSON form. {GENERAL}",
        ),
        (
            Row("a", MOMENT, {1j}),  # type: ignore[arg-type]
            f"value cannot be converted: .tags[0] is of type complex and has no JSON form. {GENERAL}",
        ),
        (
            Bare.ONE,
            "value of type Bare cannot be converted: it has no JSON form. Derive it from IntEnum or StrEnum, or pass its .value",
        ),
        (
            {"n": np.int64(1)},
            "['n'] is of type numpy.int64 and has no JSON form. Pass plain numbers: .item() of a scalar, .tolist()",
        ),
        (np.arange(3), "[0] is of type numpy.int64 and has no JSON form. Pass plain numbers"),
        ({(1, 2): 3}, "[(1, 2)] is of type tuple and is a key; JSON's keys are texts"),
        ({ID: 3}, "is of type uuid.UUID and is a key"),
        (
            {1: 1, "a": 2},
            "value of type dict cannot be converted: it has keys of several types (int, str), which cannot be put in order.",
        ),
        (circular(), "value of type list cannot be converted: it contains itself, or is nested too deeply."),
        (
            {"t": pd.DataFrame({"a": [1]})},
            "['t'] is of type pandas.DataFrame and is a table, which JSON has no form for. Pass its rows (for pandas: ",
        ),
    ],
    ids=lambda case: type(case).__name__,
)
def test_what_cannot_be_converted(value: Any, text: str) -> None:
    with pytest.raises(ValueNotConvertibleError) as refused:
        converter.to_payload(value)
    shown = str(refused.value).replace(f"{__name__}.", "").replace("pandas.core.frame.", "pandas.")
    assert text in shown
    assert isinstance(refused.value, TypeError)


def test_the_error_says_which_value_and_can_be_given_its_name() -> None:
    with pytest.raises(ValueNotConvertibleError) as refused:
        converter.to_payloads([1, 2j, 3])
    error = refused.value
    assert str(error).startswith("value 2 of 3 of type complex cannot be converted: it has no JSON form.")
    assert error.index == 1
    assert error.kind is complex
    named = error.named("argument 'rows' of activity load")
    assert str(named) == f"argument 'rows' of activity load of type complex cannot be converted: it has no JSON form. {GENERAL}"
    assert named.index == 1


def test_raw_values_pass_through() -> None:
    payload = Payload({"encoding": b"own"}, b"x")
    assert converter.to_payloads([RawValue(payload), 1])[0] is payload
    assert converter.from_payloads([payload], [RawValue]) == [RawValue(payload)]


def test_hints_may_be_fewer_than_payloads() -> None:
    payloads = converter.to_payloads([1, 2])
    assert converter.from_payloads(payloads, [float]) == [1.0, 2]
    assert converter.from_payloads(payloads[:1], [float, str]) == [1.0]
    assert converter.from_payloads([], []) == []


def test_payloads_that_cannot_be_read() -> None:
    with pytest.raises(PayloadNotConvertibleError, match=r"payload 1 \(json/plain\) cannot be read: it is no JSON") as broken:
        converter.from_payload(Payload({"encoding": b"json/plain"}, b"{"))
    assert isinstance(broken.value, RuntimeError)
    with pytest.raises(PayloadNotConvertibleError) as unfit:
        converter.from_payloads(converter.to_payloads([1, {"a": ["x"]}]), [int, dict[str, list[int]]])
    assert str(unfit.value) == (
        "payload 2 (json/plain) cannot be read as dict[str, list[int]]: at ['a'][0]: expected int, found str"
    )
    assert isinstance(unfit.value, TypeError)
    with pytest.raises(UnknownEncodingError) as unknown:
        converter.from_payload(Payload({"encoding": b"binary/encrypted"}, b""))
    assert isinstance(unknown.value, KeyError)
    assert str(unknown.value) == (
        "no converter for the payload encoding 'binary/encrypted' (known: binary/null, binary/plain, json/protobuf, "
        "binary/protobuf, json/plain). Use the DataConverter, and the codec if there is one, that it was written with"
    )
    with pytest.raises(PayloadNotConvertibleError, match="expected no data, found 1 bytes"):
        converter.from_payload(Payload({"encoding": b"binary/null"}, b"x"))


class ComplexConverter(EncodingPayloadConverter):
    @property
    def encoding(self) -> str:
        return "own/complex"

    def to_payload(self, value: Any) -> Payload | None:
        if not isinstance(value, complex):
            return None
        if value.imag < 0:
            raise ValueError("no negative ones")
        return Payload(metadata={"encoding": self.encoding.encode()}, data=f"{value.real},{value.imag}".encode())

    def from_payload(self, payload: Payload, type_hint: type | None = None) -> Any:
        return complex(*map(float, payload.data.split(b",")))


class OwnConverter(CompositePayloadConverter):
    def __init__(self) -> None:
        super().__init__(ComplexConverter(), *DefaultPayloadConverter.default_encoding_payload_converters)


def test_an_authors_converter() -> None:
    own = OwnConverter()
    payloads = own.to_payloads([1 + 2j, "x", None])
    assert [payload.metadata["encoding"] for payload in payloads] == [b"own/complex", b"json/plain", b"binary/null"]
    assert own.from_payloads(payloads) == [1 + 2j, "x", None]
    with pytest.raises(ValueNotConvertibleError, match="it was refused with ValueError: no negative ones"):
        own.to_payload(-1j)
    with pytest.raises(PayloadNotConvertibleError, match="could not convert string to float"):
        own.from_payload(Payload({"encoding": b"own/complex"}, b"a,b"))
    with pytest.raises(ValueNotConvertibleError, match=r"it is taken by none of the converters \(binary/null\)"):
        CompositePayloadConverter(BinaryNullPayloadConverter()).to_payload(1)


def test_an_authors_encoder_and_decoder() -> None:
    class Encoder(AdvancedJSONEncoder):
        def default(self, o: Any) -> Any:
            return {"re": o.real, "im": o.imag} if isinstance(o, complex) else super().default(o)

    class Decoder(json.JSONDecoder):
        def __init__(self) -> None:
            super().__init__(object_hook=lambda found: complex(found["re"], found["im"]) if "re" in found else found)

    own = JSONPlainPayloadConverter(encoder=Encoder, decoder=Decoder, encoding="json/own")
    payload = own.to_payload({"a": [1j]})
    assert payload == Payload({"encoding": b"json/own"}, b'{"a":[{"im":1.0,"re":0.0}]}')
    assert own.from_payload(payload) == {"a": [1j]}
    plain = JSONPlainPayloadConverter(encoder=None)
    with pytest.raises(TypeError, match="set"):
        plain.to_payload({1})


def test_protobuf_messages() -> None:
    message = temporalio.api.common.v1.WorkflowType(name="load")
    own, theirs = converter.to_payload(message), official.to_payload(message)
    assert (dict(own.metadata), own.data) == (dict(theirs.metadata), theirs.data)
    assert converter.from_payload(own) == message
    binary = Payload({"encoding": b"binary/protobuf", "messageType": own.metadata["messageType"]}, message.SerializeToString())
    assert converter.from_payload(binary) == message
    unknown = Payload({"encoding": b"json/protobuf", "messageType": b"no.Such"}, b"{}")
    with pytest.raises(PayloadNotConvertibleError, match=r"the protobuf message no.Such is unknown. Import the module"):
        converter.from_payload(unknown)
    with pytest.raises(PayloadNotConvertibleError, match="json/protobuf"):
        converter.from_payload(Payload(own.metadata, b'{"colour": 1}'))


def test_metadata_of_json_is_shared() -> None:
    one, other = converter.to_payloads([1, {"x": 1}])
    assert one.metadata is other.metadata


def test_nothing_heavy_is_imported() -> None:
    program = (
        "import sys\nfrom flowkernel.converter import PayloadConverter\n"
        "default = PayloadConverter.default\n"
        "default.from_payloads(default.to_payloads([1, (2,), {'a': None}]), [int, list, dict])\n"
        "print([m for m in ('google.protobuf', 'pydantic', 'numpy', 'pandas', 'temporalio') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
