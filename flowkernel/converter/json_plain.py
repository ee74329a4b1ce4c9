"""Values as JSON: ``json/plain``.

Most values are made of dicts, lists, texts and numbers, and for those msgspec writes the same JSON several times faster than the
standard library. But it also writes values that must be refused here, or be written differently (bytes, sets, NaN as null). So
its result is believed only if reading it back gives an equal value; anything else goes through the standard library. Two fast
passes cost less than one slow one.
"""

from __future__ import annotations

import dataclasses
import json
import re
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, datetime, time
from enum import Enum
from typing import Any, cast

import msgspec

from flowkernel.converter.errors import WAY_OUT, PayloadNotConvertibleError, ValueNotConvertibleError, type_of
from flowkernel.converter.payload_converter import EncodingPayloadConverter
from flowkernel.converter.typed_values import JSONTypeConverter, TypedReader
from flowkernel.model.payloads import Payload

_fast_encode = msgspec.json.Encoder(order="sorted").encode
_fast_decode = msgspec.json.Decoder[Any]().decode

_HALF_PAIR = re.compile("[\ud800-\udfff]")

# As deep as anybody looks for the cause of an error.
_DEEPEST = 50


class AdvancedJSONEncoder(json.JSONEncoder):
    """Writes more than JSON's own types.

    Datetimes, dates and times in ISO 8601, dataclasses, pydantic models, objects with a ``dict`` method, mappings, UUIDs, and any
    other iterable as a list. Tables (data frames) are refused: as iterables they would lose everything but their column names.
    """

    def default(self, o: Any) -> Any:
        """See base class."""
        if isinstance(o, datetime | date | time):
            return o.isoformat()
        if dataclasses.is_dataclass(o) and not isinstance(o, type):
            return {field.name: getattr(o, field.name) for field in dataclasses.fields(o)}
        if isinstance(o, uuid.UUID):
            return str(o)
        if isinstance(o, Mapping):
            return dict(cast("Mapping[Any, Any]", o))
        if _is_table(o):
            return super().default(o)
        for method, options in (("model_dump", {"mode": "json", "by_alias": True}), ("dict", {})):
            convert: Callable[..., Any] | None = None if isinstance(o, type) else getattr(o, method, None)
            if callable(convert):
                return convert(**options)
        if isinstance(o, Iterable):
            return list(cast("Iterable[Any]", o))
        return super().default(o)


class JSONPlainPayloadConverter(EncodingPayloadConverter):
    """Values as JSON text, read back as their type hints say.

    Args:
        encoder: class of the JSON encoder; None for the standard library's.
        decoder: class of the JSON decoder; None for the standard one.
        encoding: the name under which payloads are recorded.
        custom_type_converters: asked before the built-in rules when a payload is read with a type hint.
    """

    def __init__(
        self,
        *,
        encoder: type[json.JSONEncoder] | None = AdvancedJSONEncoder,
        decoder: type[json.JSONDecoder] | None = None,
        encoding: str = "json/plain",
        custom_type_converters: Sequence[JSONTypeConverter] = (),
    ) -> None:
        encoder_class = encoder or json.JSONEncoder
        self._fast = encoder_class in {AdvancedJSONEncoder, json.JSONEncoder}  # any other may write plain values its own way
        self._encoder = encoder_class(separators=(",", ":"), sort_keys=True, ensure_ascii=False)
        self._decoder = decoder
        self._encoding = encoding
        self._metadata: Mapping[str, bytes] = {"encoding": encoding.encode()}  # shared by all its payloads
        self._types = TypedReader(custom_type_converters)

    @property
    def encoding(self) -> str:
        """See base class."""
        return self._encoding

    def to_payload(self, value: Any) -> Payload | None:
        """See base class.

        Raises:
            ValueNotConvertibleError: a TypeError that says what in the value has no JSON form.
        """
        data = _plain_json(value) if self._fast else None
        return Payload(self._metadata, self._written(value) if data is None else data)

    def _written(self, value: Any) -> bytes:
        try:
            text = self._encoder.encode(value)
        except (TypeError, ValueError, RecursionError) as error:
            raise _explained(value, error, self._encoder) from error
        # Half of a surrogate pair has no UTF-8; in JSON it can be escaped.
        return _HALF_PAIR.sub(lambda half: f"\\u{ord(half[0]):04x}", text).encode()

    def from_payload(self, payload: Payload, type_hint: type | None = None) -> Any:
        """See base class.

        Raises:
            PayloadNotConvertibleError: a RuntimeError: this is no JSON.
            HintMismatchError: a TypeError that says where the value does not fit the hint.
        """
        value = self._parsed(payload.data)
        return value if type_hint is None else self._types.reader(type_hint)(value)

    def _parsed(self, data: bytes) -> Any:
        if self._decoder is None:
            try:
                return _fast_decode(data)
            except (ValueError, RecursionError):  # NaN, half surrogates, UTF-16: what json writes and reads beyond the standard
                pass
        try:
            return json.loads(data, cls=self._decoder)
        except (ValueError, RecursionError) as error:
            raise PayloadNotConvertibleError(self._encoding, f"it is no JSON ({error})") from error


def _plain_json(value: Any) -> bytes | None:
    """The value's JSON if it is made of plain JSON types, else None."""
    try:
        data = _fast_encode(value)
        return data if _fast_decode(data) == value else None
    except Exception:  # noqa: BLE001 - whatever is wrong, the slow way says it better
        return None


# --- explaining a refusal ---------------------------------------------------------------------------------------------


def _is_table(value: Any) -> bool:
    kind = cast("type[Any]", type(value))
    return hasattr(kind, "__dataframe__") or hasattr(kind, "__arrow_c_stream__")


def _explained(value: Any, error: Exception, encoder: json.JSONEncoder) -> ValueNotConvertibleError:
    if isinstance(error, RecursionError) or "Circular" in str(error):
        return ValueNotConvertibleError(type_of(value), problem="contains itself, or is nested too deeply")
    found = _offender(value, "", encoder, 0)
    if found is None:
        return ValueNotConvertibleError(type_of(value), problem=f"has no JSON form ({error})")
    place, kind, problem = found
    if problem:
        return ValueNotConvertibleError(kind, place=place, problem=problem)
    problem, way_out = _advice(kind)
    return ValueNotConvertibleError(kind, place=place, problem=problem, way_out=way_out)


def _advice(kind: type[Any]) -> tuple[str, str]:
    if hasattr(kind, "__dataframe__") or hasattr(kind, "__arrow_c_stream__"):
        return "is a table, which JSON has no form for", (
            "Pass its rows (for pandas: frame.to_dict('records')) or the path of a file, or give DataConverter a "
            "payload_converter_class that takes this type"
        )
    if issubclass(kind, Enum):
        return "has no JSON form", "Derive it from IntEnum or StrEnum, or pass its .value"
    if hasattr(kind, "tolist"):
        return "has no JSON form", "Pass plain numbers: .item() of a scalar, .tolist() of an array"
    return "has no JSON form", WAY_OUT


def _offender(value: Any, place: str, encoder: json.JSONEncoder, depth: int) -> tuple[str, type[Any], str] | None:
    """Find what has no JSON form: its place, its type, and the problem if it is a special one."""
    if depth > _DEEPEST or value is None or isinstance(value, str | int | float):
        return None
    if isinstance(value, dict):
        return _offender_in_dict(cast("dict[Any, Any]", value), place, encoder, depth)
    if isinstance(value, list | tuple):
        for index, item in enumerate(cast("list[Any]", value)):
            found = _offender(item, f"{place}[{index}]", encoder, depth + 1)
            if found:
                return found
        return None
    try:
        replaced = encoder.default(value)
    except TypeError:
        return place, type_of(value), ""
    if dataclasses.is_dataclass(value):
        for name, item in cast("dict[str, Any]", replaced).items():
            found = _offender(item, f"{place}.{name}", encoder, depth + 1)
            if found:
                return found
        return None
    return _offender(replaced, place, encoder, depth + 1)


def _offender_in_dict(
    value: dict[Any, Any], place: str, encoder: json.JSONEncoder, depth: int
) -> tuple[str, type[Any], str] | None:
    for key in value:
        if key is not None and not isinstance(key, str | int | float):
            return f"{place}[{key!r}]", type_of(key), "is a key; JSON's keys are texts (numbers, bool and None become texts)"
    for key, item in value.items():
        found = _offender(item, f"{place}[{key!r}]", encoder, depth + 1)
        if found:
            return found
    try:
        sorted(value)
    except TypeError:
        kinds = ", ".join(sorted({type(key).__name__ for key in value}))
        return place, type_of(value), f"has keys of several types ({kinds}), which cannot be put in order"
    return None
