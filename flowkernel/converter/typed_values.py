"""JSON values to what a type hint asks for.

Each hint is turned into a small function once (`TypedReader.reader`), which then reads any number of values. The rules are those
of Temporal's Python SDK, so that a program reads the same values on both; what the SDK refuses and has one obvious reading is
read here too: ``date`` and ``time``, generic dataclasses, named tuples, ``Annotated``, pydantic 2 models, subclasses of ``str``
and of numbers. One rule is stricter: a text is no list of letters.
"""

from __future__ import annotations

import collections
import dataclasses
import inspect
import json
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, datetime, time
from enum import Enum
from types import UnionType
from typing import Any, ClassVar, Final, Literal, NewType, TypeAlias, TypeVar, Union, cast, get_type_hints

from typing_extensions import TypeAliasType

from flowkernel.converter.errors import HintMismatchError, type_name, type_of

Reader: TypeAlias = Callable[[Any], Any]
"""Reads a JSON value as one type; raises HintMismatchError when it does not fit."""

JSONTypeConverterUnhandled = NewType("JSONTypeConverterUnhandled", object)
"""Type of `JSONTypeConverter.Unhandled`."""

# Hints outlive their use by little: a notebook defines its classes again and again.
_KEPT_READERS = 2048


class JSONTypeConverter(ABC):
    """An author's own rule for reading JSON values, asked before the built-in ones, at every level of a value."""

    Unhandled: ClassVar[JSONTypeConverterUnhandled] = JSONTypeConverterUnhandled(object())
    """Returned for hints that are none of its business."""

    @abstractmethod
    def to_typed_value(self, hint: type, value: Any) -> Any | JSONTypeConverterUnhandled | None:
        """Read a JSON value (a scalar, list or dict) as ``hint``, or give `Unhandled`."""
        raise NotImplementedError


def value_to_type(hint: type, value: Any, custom_converters: Sequence[JSONTypeConverter] = ()) -> Any:
    """Read a JSON value as a type.

    Args:
        hint: a type or type hint.
        value: as ``json.loads`` gives it.
        custom_converters: asked first.
    Raises:
        HintMismatchError: a TypeError that says where the value does not fit.
    """
    reader = TypedReader(custom_converters) if custom_converters else _default
    return reader.reader(hint)(value)


class TypedReader:
    """Makes and keeps readers.

    Kept by identity: ``int | str`` and ``str | int`` are equal, but the first member that fits wins.
    """

    def __init__(self, custom_converters: Sequence[JSONTypeConverter] = ()) -> None:
        self._custom = tuple(custom_converters)
        self._kept: dict[int, tuple[object, Reader]] = {}

    def reader(self, hint: Any) -> Reader:
        """The function that reads values as ``hint``. Never raises: an impossible hint fails when a value is read."""
        kept = self._kept.get(id(hint))
        if kept is not None and kept[0] is hint:
            return kept[1]
        built = self._build(hint)
        if self._custom:
            built = self._ask_first(hint, built)
        if len(self._kept) >= _KEPT_READERS:
            self._kept.clear()
        self._kept[id(hint)] = (hint, built)
        return built

    def _ask_first(self, hint: Any, otherwise: Reader) -> Reader:
        def read(value: Any) -> Any:
            for converter in self._custom:
                result = converter.to_typed_value(hint, value)
                if result is not JSONTypeConverter.Unhandled:
                    return result
            return otherwise(value)

        return read

    def _build(self, hint: Any) -> Reader:
        if hint is None:  # as in dict[None, int]
            hint = type(None)
        scalar = _SCALARS.get(hint) if isinstance(hint, type) else None
        if scalar is not None:
            return scalar
        if hint is Any or isinstance(hint, TypeVar):
            bound = getattr(hint, "__bound__", None)
            return self.reader(bound) if bound is not None else _as_is
        if isinstance(hint, NewType):
            return self.reader(hint.__supertype__)
        if isinstance(hint, TypeAliasType):
            return lambda value: self.reader(hint.__value__)(value)  # later: an alias may speak of itself
        origin: Any = getattr(hint, "__origin__", hint)
        arguments: tuple[Any, ...] = getattr(hint, "__args__", ())
        if origin is Literal:
            return _literal(hint, arguments)
        if origin is Union or isinstance(hint, UnionType):
            return _union(hint, [self.reader(argument) for argument in arguments])
        if origin is Final or hasattr(hint, "__metadata__"):  # Final[X], Annotated[X, ...]
            return self.reader(arguments[0] if origin is Final else origin)
        if isinstance(origin, type):
            return self._build_class(hint, cast("type[Any]", origin), arguments)
        return _unreadable(hint)

    def _build_class(self, hint: Any, origin: type[Any], arguments: tuple[Any, ...]) -> Reader:
        if _derives(origin, Mapping):
            typed = hasattr(origin, "__required_keys__") or hasattr(origin, "__optional_keys__")
            return self._typed_dict(hint, _Fields(self, origin, arguments)) if typed else self._mapping(hint, arguments)
        if dataclasses.is_dataclass(origin):
            return _dataclass(origin, _Fields(self, origin, arguments))
        for method in ("model_validate_json", "parse_obj"):
            if isinstance(inspect.getattr_static(origin, method, None), classmethod | staticmethod):
                return _pydantic(hint, method)
        for base in (int, str, float):
            if issubclass(origin, base):
                return _scalar_subclass(origin, base)
        if issubclass(origin, uuid.UUID):
            return _scalar_subclass(origin, str)
        if _derives(origin, tuple) and hasattr(origin, "_fields"):
            return _named_tuple(origin, _Fields(self, origin, arguments))
        if _derives(origin, Iterable):
            return self._items(hint, origin, arguments)
        return _unreadable(hint)

    def _mapping(self, hint: Any, arguments: tuple[Any, ...]) -> Reader:
        key_hint, value_hint = (*arguments, Any, Any)[:2]
        read_key = None if key_hint is Any or isinstance(key_hint, TypeVar) else self._key(key_hint)
        read_value = self.reader(value_hint)

        def read(value: Any) -> Any:
            if not isinstance(value, Mapping):
                raise HintMismatchError.expected(hint, value)
            result: dict[Any, Any] = {}
            for key, item in cast("Mapping[Any, Any]", value).items():
                try:
                    result[key if read_key is None else read_key(key)] = read_value(item)
                except Exception as error:
                    raise HintMismatchError.inside(f"[{key!r}]", error) from error
            return result

        return read

    def _key(self, hint: Any) -> Reader:
        """JSON keys are texts; those that stand for other types are read back."""
        while isinstance(hint, NewType):
            hint = hint.__supertype__
        read = self.reader(hint)
        if hint is int or hint is float:
            return lambda key: hint(key)
        if isinstance(hint, type) and issubclass(hint, Enum) and issubclass(hint, int):
            return lambda key: read(int(key))
        if hint is bool or hint is None or hint is type(None):
            words: dict[str, bool | None] = {"true": True, "false": False} if hint is bool else {"null": None}
            return lambda key: read(words.get(key, key))
        return read

    def _typed_dict(self, hint: Any, fields: _Fields) -> Reader:
        def read(value: Any) -> Any:
            if not isinstance(value, Mapping):
                raise HintMismatchError.expected(hint, value)
            readers = fields.readers()
            result: dict[str, Any] = {}
            for key, item in cast("Mapping[str, Any]", value).items():
                try:
                    result[key] = readers.get(key, _as_is)(item)
                except Exception as error:
                    raise HintMismatchError.inside(f"[{key!r}]", error) from error
            return result

        return read

    def _items(self, hint: Any, origin: type[Any], arguments: tuple[Any, ...]) -> Reader:
        make = _COLLECTIONS.get(origin, list)
        fixed = origin is tuple and Ellipsis not in arguments
        readers = [self.reader(argument) for argument in arguments if argument is not Ellipsis]

        def read(value: Any) -> Any:
            if not _is_array(value):
                raise HintMismatchError.expected(hint, value)
            result: list[Any] = []
            for index, item in enumerate(value):
                if fixed and readers and index >= len(readers):
                    raise HintMismatchError(f"expected {len(readers)} items for {type_name(hint)}, found more")
                try:
                    result.append(_reader_at(readers, index, fixed)(item))
                except Exception as error:
                    raise HintMismatchError.inside(f"[{index}]", error) from error
            return make(result)

        return read


class _Fields:
    """The fields of a class and how to read them, resolved when first needed: a class may speak of itself."""

    def __init__(self, owner: TypedReader, kind: type[Any], arguments: tuple[Any, ...]) -> None:
        self._owner = owner
        self._kind = kind
        self._arguments: dict[Any, Any] = dict(zip(getattr(kind, "__parameters__", ()), arguments, strict=False))
        self._hints: dict[str, Any] | None = None
        self._readers: dict[str, Reader] = {}
        self._settled = False

    def readers(self) -> dict[str, Reader]:
        """A reader for each annotated name."""
        if self._settled:
            return self._readers
        try:
            hints = get_type_hints(self._kind)
        except NameError as error:
            raise HintMismatchError(f"an annotation of {type_name(self._kind)} is not defined: {error}") from error
        if hints != self._hints:
            self._hints = hints
            self._readers = {name: self._owner.reader(self._filled_in(hint)) for name, hint in hints.items()}
        # In a notebook, a class named in text may be defined anew by another cell.
        self._settled = self._kind.__module__ != "__main__" or hints == _written_hints(self._kind)
        return self._readers

    def _filled_in(self, hint: Any) -> Any:
        """A hint with the type variables of a generic class replaced."""
        if isinstance(hint, TypeVar):
            return self._arguments.get(hint, hint)
        open_ones: tuple[Any, ...] = getattr(hint, "__parameters__", ())
        if not open_ones or isinstance(hint, type) or not self._arguments:
            return hint
        return hint[tuple(self._arguments.get(parameter, Any) for parameter in open_ones)]


def _written_hints(kind: type[Any]) -> dict[str, Any]:
    written: dict[str, Any] = {}
    for base in reversed(kind.__mro__):
        written.update(inspect.get_annotations(base))
    return written


# --- readers ----------------------------------------------------------------------------------------------------------


def _as_is(value: Any) -> Any:
    return value


def _kind(value: object) -> str:
    return type_name(type_of(value))


def _derives(kind: type[Any], base: type[Any]) -> bool:
    return issubclass(kind, base)


def _is_array(value: object) -> bool:
    return isinstance(value, Iterable) and not isinstance(value, str | bytes | Mapping)


def _reader_at(readers: list[Reader], index: int, fixed: bool) -> Reader:
    if not readers:
        return _as_is
    return readers[index] if fixed else readers[0]


def _unreadable(hint: Any) -> Reader:
    def read(value: Any) -> Any:
        del value
        raise HintMismatchError(
            f"{type_name(hint)} is no type that JSON values can be read as; use JSON types, a dataclass, an IntEnum, a StrEnum "
            "or a pydantic model, or a JSONTypeConverter for it"
        )

    return read


def _literal(hint: Any, allowed: tuple[Any, ...]) -> Reader:
    def read(value: Any) -> Any:
        if value not in allowed:
            raise HintMismatchError(f"expected {type_name(hint)}, found {value!r}")
        return value

    return read


def _union(hint: Any, members: list[Reader]) -> Reader:
    def read(value: Any) -> Any:
        for member in members:
            try:
                return member(value)
            except Exception:  # noqa: BLE001, S112 - whatever a member's own code raises, the next one may fit
                continue
        raise HintMismatchError(f"no member of {type_name(hint)} fits a value of type {_kind(value)}")

    return read


def _dataclass(kind: type[Any], fields: _Fields) -> Reader:
    names = [(field.name, field.init) for field in dataclasses.fields(kind)]

    def read(value: Any) -> Any:
        if not isinstance(value, dict):
            raise HintMismatchError.expected(kind, value)
        given = cast("dict[str, Any]", value)
        readers = fields.readers()
        to_init: dict[str, Any] = {}
        to_set: dict[str, Any] = {}
        for name, init in names:
            if name in given:
                try:
                    (to_init if init else to_set)[name] = readers[name](given[name])
                except Exception as error:
                    raise HintMismatchError.inside(f".{name}", error) from error
        made = _make(kind, **to_init)
        for name, field_value in to_set.items():
            object.__setattr__(made, name, field_value)  # also on frozen ones
        return made

    return read


def _named_tuple(kind: type[Any], fields: _Fields) -> Reader:
    def read(value: Any) -> Any:
        if not isinstance(value, list | tuple):
            raise HintMismatchError.expected(kind, value)
        readers = fields.readers()
        names: tuple[str, ...] = kind._fields
        items: list[Any] = []
        for index, item in enumerate(cast("list[Any]", value)):
            try:
                items.append(readers.get(names[index], _as_is)(item) if index < len(names) else item)
            except Exception as error:
                raise HintMismatchError.inside(f"[{index}]", error) from error
        return _make(kind, *items)

    return read


def _make(kind: type[Any], *args: Any, **kwargs: Any) -> Any:
    try:
        return kind(*args, **kwargs)
    except Exception as error:
        raise HintMismatchError(f"{type_name(kind)} refuses the value: {error}") from error


def _pydantic(hint: Any, method: str) -> Reader:
    def read(value: Any) -> Any:
        try:
            if method == "parse_obj":
                return hint.parse_obj(value)
            # As JSON text, since pydantic reads texts as dates, bytes and so on only there when a model is strict.
            return hint.model_validate_json(json.dumps(value))
        except ValueError as error:
            raise HintMismatchError(f"{type_name(hint)} refuses the value: {error}") from error

    return read


def _scalar_subclass(kind: type[Any], base: type[Any]) -> Reader:
    """Enumerations with a JSON form, identifiers, and an author's own numbers and texts."""
    accepted = (int, float) if base is float else base

    def read(value: Any) -> Any:
        if not isinstance(value, accepted):
            raise HintMismatchError.expected(kind, value)
        return _make(kind, value)

    return read


def _number(kind: type[int | float]) -> Reader:
    def read(value: Any) -> Any:
        if not isinstance(value, int | float):
            raise HintMismatchError.expected(kind, value)
        return kind(value)

    return read


def _exactly(kind: type[Any]) -> Reader:
    def read(value: Any) -> Any:
        if not isinstance(value, kind):
            raise HintMismatchError.expected(kind, value)
        return value

    return read


def _iso(kind: type[datetime | date | time]) -> Reader:
    def read(value: Any) -> Any:
        if isinstance(value, kind):  # from an author's JSON decoder
            return value
        if not isinstance(value, str):
            raise HintMismatchError(f"expected an ISO 8601 text for {kind.__name__}, found {_kind(value)}")
        try:
            return kind.fromisoformat(value)
        except ValueError as error:
            raise HintMismatchError(f"{value!r} is no ISO 8601 {kind.__name__}") from error

    return read


def _read_bytes(value: Any) -> bytes:
    if not isinstance(value, bytes | list):
        raise HintMismatchError(f"expected a list of byte values for bytes, found {_kind(value)}")
    return bytes(cast("list[int]", value))


_SCALARS: dict[type[Any], Reader] = {
    object: _as_is,
    int: _number(int),
    float: _number(float),
    bool: _exactly(bool),
    str: _exactly(str),
    bytes: _read_bytes,
    type(None): _exactly(type(None)),
    datetime: _iso(datetime),
    date: _iso(date),
    time: _iso(time),
}

_COLLECTIONS: dict[type[Any], Callable[[list[Any]], Any]] = {
    tuple: tuple,
    set: set,
    frozenset: frozenset,
    collections.deque: collections.deque,
    bytearray: bytearray,
}

_default = TypedReader()
