from __future__ import annotations

import dataclasses
import inspect
from datetime import UTC, datetime, timedelta

import pytest
import temporalio.common as sdk
from hypothesis import given
from hypothesis import strategies as st

import flowkernel.common as ours
from flowkernel.common import (
    Priority,
    RetryPolicy,
    SearchAttributeIndexedValueType,
    SearchAttributeKey,
    SearchAttributePair,
    TypedSearchAttributes,
)
from flowkernel.model import policies
from flowkernel.model.ids import SECOND


@pytest.mark.parametrize("name", ["RetryPolicy", "Priority"])
def test_fields_and_defaults_are_the_sdks(name: str) -> None:
    def fields(kind: type) -> list[tuple[str, object]]:
        return [(field.name, field.default) for field in dataclasses.fields(kind)]

    assert fields(getattr(ours, name)) == fields(getattr(sdk, name))


@pytest.mark.parametrize(
    "name",
    ["WorkflowIDReusePolicy", "WorkflowIDConflictPolicy", "QueryRejectCondition", "SearchAttributeIndexedValueType"],
)
def test_enums_have_the_sdks_members(name: str) -> None:
    assert {m.name: m.value for m in getattr(ours, name)} == {m.name: m.value for m in getattr(sdk, name)}


@given(
    st.timedeltas(timedelta(0), timedelta(days=300)),
    st.floats(1, 100),
    st.none() | st.timedeltas(timedelta(days=301), timedelta(days=3000)),
    st.integers(0, 1000),
    st.none() | st.lists(st.text(), min_size=1),
)
def test_retry_policies_come_back(
    initial: timedelta, coefficient: float, maximum: timedelta | None, attempts: int, types: list[str] | None
) -> None:
    policy = RetryPolicy(initial, coefficient, maximum, attempts, types)
    assert RetryPolicy.from_model(policy.to_model()) == policy


def test_the_default_policy_is_the_models_default() -> None:
    assert RetryPolicy().to_model() == policies.RetryPolicy()
    assert RetryPolicy(maximum_interval=timedelta(0)).to_model().maximum_interval == 0


@pytest.mark.parametrize(
    ("policy", "text"),
    [
        (RetryPolicy(initial_interval=timedelta(seconds=-1)), "initial_interval is negative"),
        (RetryPolicy(backoff_coefficient=0.5), "backoff_coefficient is 0.5; use 1 (constant) or more"),
        (RetryPolicy(backoff_coefficient=float("nan")), "backoff_coefficient is nan"),
        (RetryPolicy(maximum_interval=timedelta(seconds=-1)), "maximum_interval is negative"),
        (
            RetryPolicy(timedelta(seconds=5), maximum_interval=timedelta(seconds=1)),
            "(0:00:01) is shorter than initial_interval (0:00:05)",
        ),
        (RetryPolicy(maximum_attempts=-1), "maximum_attempts is -1; use 0 for no limit"),
    ],
)
def test_a_policy_that_breaks_a_rule(policy: RetryPolicy, text: str) -> None:
    with pytest.raises(ValueError) as refused:
        policy.to_model()
    assert text in str(refused.value)
    # As in the SDK: without retries, the rest does not matter.
    once = dataclasses.replace(policy, maximum_attempts=1).to_model()
    assert once.maximum_attempts == 1
    assert once.initial_interval >= 0


def test_a_text_is_no_list_of_error_types() -> None:
    with pytest.raises(TypeError, match="pass a list of names"):
        RetryPolicy(non_retryable_error_types="ValueError").to_model()
    assert RetryPolicy(initial_interval=timedelta(seconds=2)).to_model().initial_interval == 2 * SECOND


def test_priority() -> None:
    assert Priority.default == Priority() == Priority.from_model(policies.Priority())
    priority = Priority(2, "tenant", 1.5)
    assert Priority.from_model(priority.to_model()) == priority
    with pytest.raises(ValueError, match="priority_key is 0; use 1"):
        Priority(0)
    with pytest.raises(TypeError, match="priority_key is 'high'"):
        Priority("high")  # type: ignore[arg-type]


KEYS = {
    "for_text": "word",
    "for_keyword": "word",
    "for_int": 1,
    "for_float": 1.5,
    "for_bool": True,
    "for_datetime": datetime(2020, 1, 1, tzinfo=UTC),
    "for_keyword_list": ["a", "b"],
}


@pytest.mark.parametrize("make", KEYS)
def test_search_attribute_keys_are_the_sdks(make: str) -> None:
    own, theirs = getattr(SearchAttributeKey, make)("name"), getattr(sdk.SearchAttributeKey, make)("name")
    assert (own.name, own.indexed_value_type, own.value_type) == (theirs.name, theirs.indexed_value_type, theirs.value_type)
    assert own.origin_value_type is theirs.origin_value_type
    assert own.indexed_value_type.metadata_type == theirs._metadata_type
    assert SearchAttributeKey.of_type("name", own.indexed_value_type) == own
    assert own.value_set(KEYS[make]).value == KEYS[make]
    assert own.value_unset().value is None
    assert own.value_unset().key == own


def test_metadata_types_in_both_spellings() -> None:
    kinds = SearchAttributeIndexedValueType
    assert kinds.of_metadata_type("KeywordList") is kinds.KEYWORD_LIST
    assert kinds.of_metadata_type("INDEXED_VALUE_TYPE_KEYWORD_LIST") is kinds.KEYWORD_LIST
    assert kinds.of_metadata_type("Colour") is None


def test_typed_search_attributes() -> None:
    number, word = SearchAttributeKey.for_int("b"), SearchAttributeKey.for_keyword("a")
    attributes = TypedSearchAttributes([SearchAttributePair(number, 1), SearchAttributePair(word, "x")])
    assert [pair.key.name for pair in attributes] == ["a", "b"]
    assert len(attributes) == 2
    assert attributes[number] == 1
    assert attributes.get(word) == "x"
    assert attributes.get(SearchAttributeKey.for_int("a")) is None  # the same name with another type is another key
    assert attributes.get(SearchAttributeKey.for_int("c"), 5) == 5
    assert number in attributes
    assert SearchAttributeKey.for_text("a") not in attributes
    with pytest.raises(KeyError, match="c"):
        attributes[SearchAttributeKey.for_int("c")]
    changed = attributes.updated(SearchAttributePair(number, 2), SearchAttributePair(SearchAttributeKey.for_bool("c"), True))
    assert [pair.value for pair in changed] == ["x", 2, True]
    assert attributes[number] == 1
    with pytest.raises(ValueError, match="'a' is given twice"):
        TypedSearchAttributes([SearchAttributePair(word, "x"), SearchAttributePair(word, "y")])
    assert len(TypedSearchAttributes.empty) == 0


def test_the_public_names_are_documented() -> None:
    for name in ours.__all__:
        value = getattr(ours, name)
        if inspect.isclass(value) and value.__module__.startswith("flowkernel"):
            assert value.__doc__
