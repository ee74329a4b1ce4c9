"""What workflows, activities and clients share: retry policies, priorities, id policies, search attributes, raw values.

Names, parameters and defaults are those of Temporal's Python SDK. Durations are ``timedelta`` here; `flowkernel.durations` turns
them, and text such as ``"30s"``, into the nanoseconds of `flowkernel.model`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import IntEnum
from itertools import pairwise
from typing import Any, ClassVar, Generic, NamedTuple, TypeAlias, TypeVar, cast, get_origin, overload

from flowkernel.durations import duration, to_timedelta
from flowkernel.model import policies
from flowkernel.model.payloads import Payload
from flowkernel.model.policies import QueryRejectCondition
from flowkernel.model.policies import WorkflowIdConflictPolicy as WorkflowIDConflictPolicy
from flowkernel.model.policies import WorkflowIdReusePolicy as WorkflowIDReusePolicy

__all__ = [
    "Payload",
    "Priority",
    "QueryRejectCondition",
    "RawValue",
    "RetryPolicy",
    "SearchAttributeIndexedValueType",
    "SearchAttributeKey",
    "SearchAttributePair",
    "SearchAttributeUpdate",
    "SearchAttributeValue",
    "SearchAttributeValues",
    "SearchAttributes",
    "TypedSearchAttributes",
    "WorkflowIDConflictPolicy",
    "WorkflowIDReusePolicy",
]

T = TypeVar("T")


@dataclass
class RetryPolicy:
    """When and how often a failed activity or workflow is tried again.

    Attributes:
        initial_interval: between the first and the second attempt.
        backoff_coefficient: by which the interval grows from attempt to attempt; at least 1.
        maximum_interval: beyond which it does not grow; None stands for 100 times the initial one.
        maximum_attempts: the first one included; 0 for no limit, 1 for no retries.
        non_retryable_error_types: types of errors (``ApplicationError.type``, or class names) that are not tried again.
    """

    initial_interval: timedelta = timedelta(seconds=1)
    backoff_coefficient: float = 2.0
    maximum_interval: timedelta | None = None
    maximum_attempts: int = 0
    non_retryable_error_types: Sequence[str] | None = None

    @staticmethod
    def from_model(policy: policies.RetryPolicy) -> RetryPolicy:
        """Read the recorded form."""
        return RetryPolicy(
            initial_interval=to_timedelta(policy.initial_interval),
            backoff_coefficient=policy.backoff_coefficient,
            maximum_interval=to_timedelta(policy.maximum_interval) if policy.maximum_interval else None,
            maximum_attempts=policy.maximum_attempts,
            non_retryable_error_types=list(policy.non_retryable_error_types) or None,
        )

    def to_model(self) -> policies.RetryPolicy:
        """Check it and give the form that is recorded.

        Raises:
            ValueError: a field breaks a rule. As in the SDK, only a policy that does retry is checked.
            TypeError: ``non_retryable_error_types`` is a single text.
        """
        if isinstance(self.non_retryable_error_types, str):
            raise TypeError(
                f"RetryPolicy: non_retryable_error_types is the text {self.non_retryable_error_types!r}; pass a list of names"
            )
        if self.maximum_attempts != 1:
            self._check()
        return policies.RetryPolicy(
            initial_interval=self._nanoseconds(self.initial_interval),
            backoff_coefficient=self.backoff_coefficient,
            maximum_interval=self._nanoseconds(self.maximum_interval),
            maximum_attempts=self.maximum_attempts,
            non_retryable_error_types=tuple(self.non_retryable_error_types or ()),
        )

    @staticmethod
    def _nanoseconds(interval: timedelta | None) -> int:
        # Negative ones come here unchecked only where they do not matter, in a policy without retries.
        return duration(interval) if interval and interval > timedelta(0) else 0

    def _check(self) -> None:
        if self.initial_interval < timedelta(0):
            raise ValueError(f"RetryPolicy: initial_interval is negative ({self.initial_interval}); use 0 or more")
        if not self.backoff_coefficient >= 1:  # not "< 1", which a NaN would pass
            raise ValueError(f"RetryPolicy: backoff_coefficient is {self.backoff_coefficient}; use 1 (constant) or more")
        if self.maximum_interval:
            if self.maximum_interval < timedelta(0):
                raise ValueError(f"RetryPolicy: maximum_interval is negative ({self.maximum_interval}); use None for the default")
            if self.maximum_interval < self.initial_interval:
                raise ValueError(
                    f"RetryPolicy: maximum_interval ({self.maximum_interval}) is shorter than initial_interval "
                    f"({self.initial_interval}); raise it, or leave it out for 100 times the initial one"
                )
        if self.maximum_attempts < 0:
            raise ValueError(f"RetryPolicy: maximum_attempts is {self.maximum_attempts}; use 0 for no limit, 1 for no retries")


@dataclass(frozen=True)
class Priority:
    """Order among the tasks that wait in a queue. What is None is inherited from the calling workflow.

    Attributes:
        priority_key: 1 (first) to 5 (last); 3 if nobody says.
        fairness_key: a short text, for example a tenant; queues share themselves out among such keys.
        fairness_weight: this key's share, 1.0 if nobody says.

    Raises:
        TypeError: ``priority_key`` is no int.
        ValueError: ``priority_key`` is less than 1.
    """

    priority_key: int | None = None
    fairness_key: str | None = None
    fairness_weight: float | None = None

    default: ClassVar[Priority]
    """Everything inherited."""

    def __post_init__(self) -> None:
        key = cast(object, self.priority_key)
        if key is None:
            return
        if not isinstance(key, int):
            raise TypeError(f"Priority: priority_key is {key!r}; use an int from 1 (first) to 5 (last)")
        if key < 1:
            raise ValueError(f"Priority: priority_key is {key}; use 1 (first) to 5 (last)")

    @staticmethod
    def from_model(priority: policies.Priority) -> Priority:
        """Read the recorded form."""
        return Priority(priority.priority_key or None, priority.fairness_key or None, priority.fairness_weight or None)

    def to_model(self) -> policies.Priority:
        """The form that is recorded."""
        return policies.Priority(self.priority_key or 0, self.fairness_key or "", self.fairness_weight or 0.0)


Priority.default = Priority()


@dataclass(frozen=True)
class RawValue:
    """A payload that converters leave alone: as an argument or result it goes through as it is, as a type hint it is asked for.

    Codecs still apply to it.
    """

    payload: Payload


# --- search attributes ------------------------------------------------------------------------------------------------

# Lists, not sequences: a bare text would be a sequence of texts.
SearchAttributeValues: TypeAlias = list[str] | list[int] | list[float] | list[bool] | list[datetime]
"""The values of one untyped search attribute."""

SearchAttributes: TypeAlias = Mapping[str, SearchAttributeValues]
"""Untyped search attributes by name. `TypedSearchAttributes` is the better form."""

SearchAttributeValue: TypeAlias = str | int | float | bool | datetime | Sequence[str]
"""The value of one typed search attribute."""

SearchAttributeValueType = TypeVar("SearchAttributeValueType", str, int, float, bool, datetime, Sequence[str])


class SearchAttributeIndexedValueType(IntEnum):
    """How a search attribute is indexed. Values are Temporal's."""

    TEXT = 1
    KEYWORD = 2
    INT = 3
    DOUBLE = 4
    BOOL = 5
    DATETIME = 6
    KEYWORD_LIST = 7

    @property
    def metadata_type(self) -> str:
        """The name that payloads carry as their ``type``, for example ``KeywordList``."""
        return "".join(part.capitalize() for part in self.name.split("_"))

    @classmethod
    def of_metadata_type(cls, text: str) -> SearchAttributeIndexedValueType | None:
        """Read a payload's ``type``, also in its other spelling (``INDEXED_VALUE_TYPE_KEYWORD_LIST``); None if unknown."""
        return next((kind for kind in cls if text in {kind.metadata_type, f"INDEXED_VALUE_TYPE_{kind.name}"}), None)


@dataclass(frozen=True)
class SearchAttributeKey(Generic[SearchAttributeValueType]):
    """Name and type of a search attribute. Made by the ``for_*`` methods."""

    name: str
    indexed_value_type: SearchAttributeIndexedValueType
    value_type: type[SearchAttributeValueType]

    @property
    def origin_value_type(self) -> type:
        """The Python type of its values in a form that ``isinstance`` takes."""
        return get_origin(self.value_type) or self.value_type

    def value_set(self, value: SearchAttributeValueType) -> SearchAttributeUpdate[SearchAttributeValueType]:
        """The update that gives it a value."""
        return SearchAttributeUpdate(self, value)

    def value_unset(self) -> SearchAttributeUpdate[SearchAttributeValueType]:
        """The update that removes it."""
        return SearchAttributeUpdate(self, None)

    @staticmethod
    def for_text(name: str) -> SearchAttributeKey[str]:
        """Text of which each word is found."""
        return SearchAttributeKey(name, SearchAttributeIndexedValueType.TEXT, str)

    @staticmethod
    def for_keyword(name: str) -> SearchAttributeKey[str]:
        """Text that is compared as a whole."""
        return SearchAttributeKey(name, SearchAttributeIndexedValueType.KEYWORD, str)

    @staticmethod
    def for_int(name: str) -> SearchAttributeKey[int]:
        """Whole numbers."""
        return SearchAttributeKey(name, SearchAttributeIndexedValueType.INT, int)

    @staticmethod
    def for_float(name: str) -> SearchAttributeKey[float]:
        """Numbers (indexed as ``Double``)."""
        return SearchAttributeKey(name, SearchAttributeIndexedValueType.DOUBLE, float)

    @staticmethod
    def for_bool(name: str) -> SearchAttributeKey[bool]:
        """True or False."""
        return SearchAttributeKey(name, SearchAttributeIndexedValueType.BOOL, bool)

    @staticmethod
    def for_datetime(name: str) -> SearchAttributeKey[datetime]:
        """Points in time, with a time zone."""
        return SearchAttributeKey(name, SearchAttributeIndexedValueType.DATETIME, datetime)

    @staticmethod
    def for_keyword_list(name: str) -> SearchAttributeKey[Sequence[str]]:
        """Several texts, each compared as a whole."""
        return SearchAttributeKey(name, SearchAttributeIndexedValueType.KEYWORD_LIST, Sequence[str])

    @staticmethod
    def of_type(name: str, kind: SearchAttributeIndexedValueType) -> SearchAttributeKey[Any]:
        """The key of a type that is known only at run time."""
        kinds = SearchAttributeIndexedValueType
        if kind is kinds.KEYWORD_LIST:
            return SearchAttributeKey.for_keyword_list(name)
        types: dict[SearchAttributeIndexedValueType, type[Any]] = {
            kinds.INT: int,
            kinds.DOUBLE: float,
            kinds.BOOL: bool,
            kinds.DATETIME: datetime,
        }
        return SearchAttributeKey(name, kind, types.get(kind, str))


class SearchAttributePair(NamedTuple, Generic[SearchAttributeValueType]):
    """A search attribute and its value."""

    key: SearchAttributeKey[SearchAttributeValueType]
    value: SearchAttributeValueType


@dataclass(frozen=True)
class SearchAttributeUpdate(Generic[SearchAttributeValueType]):
    """A change of one search attribute; ``value`` None removes it."""

    key: SearchAttributeKey[SearchAttributeValueType]
    value: SearchAttributeValueType | None


@dataclass(frozen=True)
class TypedSearchAttributes(Collection[SearchAttributePair[Any]]):
    """Search attributes with their types: an immutable collection of pairs, sorted by name.

    Raises:
        ValueError: two pairs have the same name.
    """

    search_attributes: Sequence[SearchAttributePair[Any]]

    empty: ClassVar[TypedSearchAttributes]
    """No attributes."""

    def __post_init__(self) -> None:
        pairs = sorted(self.search_attributes, key=lambda pair: pair.key.name)
        for one, other in pairwise(pairs):
            if one.key.name == other.key.name:
                raise ValueError(f"Search attribute {one.key.name!r} is given twice; give each name once")
        object.__setattr__(self, "search_attributes", pairs)

    def __len__(self) -> int:
        return len(self.search_attributes)

    def __iter__(self) -> Iterator[SearchAttributePair[Any]]:
        return iter(self.search_attributes)

    def __contains__(self, key: object) -> bool:
        return any(pair.key == key for pair in self)

    def __getitem__(self, key: SearchAttributeKey[SearchAttributeValueType]) -> SearchAttributeValueType:
        for pair in self:
            if pair.key == key:
                return pair.value
        raise KeyError(key.name)

    @overload
    def get(self, key: SearchAttributeKey[SearchAttributeValueType]) -> SearchAttributeValueType | None: ...

    @overload
    def get(self, key: SearchAttributeKey[SearchAttributeValueType], default: T) -> SearchAttributeValueType | T: ...

    def get(self, key: SearchAttributeKey[Any], default: Any = None) -> Any:
        """The value of a key of this name and type, or a default."""
        return next((pair.value for pair in self if pair.key == key), default)

    def updated(self, *search_attributes: SearchAttributePair[Any]) -> TypedSearchAttributes:
        """A copy in which these pairs replace those of the same name, or are added."""
        pairs = {pair.key.name: pair for pair in (*self, *search_attributes)}
        return TypedSearchAttributes(list(pairs.values()))


TypedSearchAttributes.empty = TypedSearchAttributes([])
