from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
import temporalio.api.common.v1
import temporalio.common
import temporalio.converter

from flowkernel.common import SearchAttributeKey, SearchAttributePair, TypedSearchAttributes
from flowkernel.converter import (
    Payload,
    decode_search_attributes,
    decode_typed_search_attributes,
    encode_search_attributes,
    encode_typed_search_attribute_value,
)

MOMENT = datetime(2024, 2, 29, tzinfo=UTC)
VALUES: dict[str, Any] = {
    "for_text": "some words",
    "for_keyword": "word",
    "for_int": 1,
    "for_float": 1.5,
    "for_bool": True,
    "for_datetime": MOMENT,
    "for_keyword_list": ["a", "b"],
}


@pytest.mark.parametrize("make", VALUES)
def test_typed_values_are_written_as_the_official_sdk_does_and_come_back(make: str) -> None:
    key = getattr(SearchAttributeKey, make)("name")
    payloads = encode_search_attributes(TypedSearchAttributes([SearchAttributePair(key, VALUES[make])]))
    theirs = temporalio.api.common.v1.SearchAttributes()
    their_key = getattr(temporalio.common.SearchAttributeKey, make)("name")
    pair = temporalio.common.SearchAttributePair(their_key, VALUES[make])
    temporalio.converter.encode_search_attributes(temporalio.common.TypedSearchAttributes([pair]), theirs)
    assert (dict(payloads["name"].metadata), payloads["name"].data) == (
        dict(theirs.indexed_fields["name"].metadata),
        theirs.indexed_fields["name"].data,
    )
    assert decode_typed_search_attributes(payloads)[key] == VALUES[make]


def test_untyped_values() -> None:
    payloads = encode_search_attributes({"a": ["x"], "b": [1, 2], "c": [MOMENT], "d": []})
    assert [payloads[name].data for name in "abcd"] == [b'["x"]', b"[1,2]", b'["2024-02-29T00:00:00+00:00"]', b"[]"]
    moment = Payload({"encoding": b"json/plain", "type": b"Datetime"}, b'"2024-02-29T00:00:00Z"')
    assert decode_search_attributes({"b": payloads["b"], "c": moment}) == {"b": [1, 2], "c": [MOMENT]}


def test_removing_has_no_type() -> None:
    payload = encode_typed_search_attribute_value(SearchAttributeKey.for_int("n"), None)
    assert payload == Payload({"encoding": b"binary/null"})


def test_what_does_not_fit_is_left_out() -> None:
    def stored(kind: str, data: bytes) -> Payload:
        return Payload({"encoding": b"json/plain", "type": kind.encode()}, data)

    found = decode_typed_search_attributes(
        {
            "unknown": stored("Colour", b'"x"'),
            "untyped": Payload({"encoding": b"json/plain"}, b"1"),
            "several": stored("Int", b"[1,2]"),
            "misfit": stored("Int", b'"x"'),
            "one": stored("Int", b"[1]"),
            "whole": stored("INDEXED_VALUE_TYPE_DOUBLE", b"2"),
        }
    )
    assert {pair.key.name: pair.value for pair in found} == {"one": 1, "whole": 2.0}
    assert type(found[SearchAttributeKey.for_float("whole")]) is float


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        (SearchAttributeKey.for_int("n"), "x", "search attribute 'n' (Int) takes values of type int, not str"),
        (
            SearchAttributeKey.for_keyword_list("n"),
            ["a", 1],
            "search attribute 'n' (KeywordList) takes a list of texts, not ['a', 1]",
        ),
        (SearchAttributeKey.for_keyword_list("n"), "ab", "takes a list of texts, not 'ab'"),
        (
            SearchAttributeKey.for_datetime("n"),
            datetime(2024, 1, 1),  # noqa: DTZ001
            "search attribute 'n': 2024-01-01 00:00:00 has no time zone",
        ),
    ],
)
def test_values_of_the_wrong_type(key: SearchAttributeKey[Any], value: Any, text: str) -> None:
    with pytest.raises((TypeError, ValueError)) as refused:
        encode_typed_search_attribute_value(key, value)
    assert text in str(refused.value)


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ("abc", "are given as a list, not as str"),
        ([1, "a"], "have one type, not int, str"),
        ([b"x"], "is a str, int, float, bool or datetime, not bytes"),
        ([datetime(2024, 1, 1)], "has no time zone"),  # noqa: DTZ001
    ],
)
def test_untyped_values_of_the_wrong_type(values: Any, text: str) -> None:
    with pytest.raises((TypeError, ValueError)) as refused:
        encode_search_attributes({"n": values})
    assert text in str(refused.value)
