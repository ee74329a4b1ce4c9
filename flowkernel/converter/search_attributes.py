"""Search attributes as payloads. Always in the default form, whatever converter the author uses: the service reads them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, cast

from flowkernel.common import (
    SearchAttributeIndexedValueType,
    SearchAttributeKey,
    SearchAttributePair,
    SearchAttributes,
    SearchAttributeValue,
    SearchAttributeValues,
    TypedSearchAttributes,
)
from flowkernel.converter.data_converter import DataConverter
from flowkernel.converter.errors import type_name, type_of
from flowkernel.model.payloads import Payload


def encode_search_attributes(attributes: SearchAttributes | TypedSearchAttributes) -> dict[str, Payload]:
    """Convert search attributes, typed ones or the older untyped form, to payloads by name.

    Raises:
        TypeError: a value is not of its key's type.
        ValueError: a datetime without a time zone.
    """
    if isinstance(attributes, TypedSearchAttributes):
        return {pair.key.name: encode_typed_search_attribute_value(pair.key, pair.value) for pair in attributes}
    return {name: encode_search_attribute_values(values) for name, values in attributes.items()}


def encode_typed_search_attribute_value(key: SearchAttributeKey[Any], value: SearchAttributeValue | None) -> Payload:
    """Convert one value; None gives the payload that removes the attribute. Errors as for `encode_search_attributes`."""
    if value is None:
        return DataConverter.default.payload_converter.to_payload(None)
    if not isinstance(value, key.origin_value_type):
        raise TypeError(
            f"search attribute {key.name!r} ({key.indexed_value_type.metadata_type}) takes values of type "
            f"{type_name(key.value_type)}, not {type_name(type_of(value))}"
        )
    if key.indexed_value_type is SearchAttributeIndexedValueType.KEYWORD_LIST and (
        isinstance(value, str) or not all(isinstance(item, str) for item in cast("list[object]", value))
    ):
        raise TypeError(f"search attribute {key.name!r} (KeywordList) takes a list of texts, not {value!r}")
    payload = DataConverter.default.payload_converter.to_payload(_as_json(key.name, value))
    return Payload({**payload.metadata, "type": key.indexed_value_type.metadata_type.encode()}, payload.data)


def encode_search_attribute_values(vals: SearchAttributeValues) -> Payload:
    """Convert the values of an untyped search attribute. Errors as for `encode_search_attributes`."""
    if not isinstance(cast(object, vals), list):
        raise TypeError(f"the values of an untyped search attribute are given as a list, not as {type_name(type_of(vals))}")
    kinds: set[type[Any]] = {type(value) for value in vals}
    if len(kinds) > 1:
        raise TypeError(f"the values of a search attribute have one type, not {', '.join(sorted(type_name(k) for k in kinds))}")
    for value in vals:
        if not isinstance(cast(object, value), str | int | float | bool | datetime):
            raise TypeError(f"a search attribute is a str, int, float, bool or datetime, not {type_name(type_of(value))}")
    return DataConverter.default.payload_converter.to_payload([_as_json("", value) for value in vals])


def decode_search_attributes(payloads: Mapping[str, Payload]) -> dict[str, SearchAttributeValues]:
    """Read payloads as untyped search attributes: lists of values by name."""
    result: dict[str, SearchAttributeValues] = {}
    for name, payload in payloads.items():
        value: Any = DataConverter.default.payload_converter.from_payload(payload)
        values: list[Any] = cast("list[Any]", value) if isinstance(value, list) else [value]
        if _kind_of(payload) is SearchAttributeIndexedValueType.DATETIME:
            values = [datetime.fromisoformat(text) for text in values]
        result[name] = values
    return result


def decode_typed_search_attributes(payloads: Mapping[str, Payload]) -> TypedSearchAttributes:
    """Read payloads as typed search attributes. Without a known type, or with a value that does not fit it, one is left out."""
    pairs: list[SearchAttributePair[Any]] = []
    for name, payload in payloads.items():
        kind = _kind_of(payload)
        if kind is None:
            continue
        key = SearchAttributeKey.of_type(name, kind)
        value = _read(kind, DataConverter.default.payload_converter.from_payload(payload))
        if isinstance(value, key.origin_value_type):
            pairs.append(SearchAttributePair(key, value))
    return TypedSearchAttributes(pairs)


def _read(kind: SearchAttributeIndexedValueType, value: Any) -> Any:
    kinds = SearchAttributeIndexedValueType
    if kind is not kinds.KEYWORD_LIST and isinstance(value, list):
        several = cast("list[Any]", value)
        if len(several) != 1:
            return None
        value = several[0]
    if kind is kinds.DATETIME:
        return datetime.fromisoformat(value)
    if kind is kinds.DOUBLE and type(value) is int:  # a whole number loses its point in JSON elsewhere
        return float(value)
    return value


def _kind_of(payload: Payload) -> SearchAttributeIndexedValueType | None:
    return SearchAttributeIndexedValueType.of_metadata_type(payload.metadata.get("type", b"").decode(errors="replace"))


def _as_json(name: str, value: Any) -> Any:
    if not isinstance(value, datetime):
        return value
    if value.tzinfo is None:
        which = f" {name!r}" if name else ""
        raise ValueError(f"search attribute{which}: {value} has no time zone; add one, for example tzinfo=timezone.utc")
    return value.isoformat()
