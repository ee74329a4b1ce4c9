"""Payload converters: values to payloads and back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any, ClassVar, TypeVar, overload

from flowkernel.common import RawValue
from flowkernel.converter.errors import PayloadNotConvertibleError, UnknownEncodingError, ValueNotConvertibleError, type_of
from flowkernel.model.payloads import Payload

T = TypeVar("T")

# What a converter may raise for a value or payload that it cannot convert; other exceptions are its author's own affair.
_REFUSALS = (TypeError, ValueError, RuntimeError)


class PayloadConverter(ABC):
    """Converts the values of a call to payloads and back. Runs in workflow code too, so it must be deterministic."""

    default: ClassVar[PayloadConverter]
    """The converter for ``None``, ``bytes``, protobuf messages and everything with a JSON form."""

    @abstractmethod
    def to_payloads(self, values: Sequence[Any]) -> list[Payload]:
        """Convert values. A `flowkernel.common.RawValue` gives its payload.

        Raises:
            ValueNotConvertibleError: there is no form for a value.
        """
        raise NotImplementedError

    @abstractmethod
    def from_payloads(self, payloads: Sequence[Payload], type_hints: list[type] | None = None) -> list[Any]:
        """Read payloads. The hint `flowkernel.common.RawValue` gives the payload itself.

        Args:
            payloads: as recorded.
            type_hints: what each should be read as; None where nothing is known.
        Raises:
            PayloadNotConvertibleError: bad data, or it does not fit its hint.
            UnknownEncodingError: written by a converter that is not here.
        """
        raise NotImplementedError

    def to_payload(self, value: Any) -> Payload:
        """Convert one value. Errors as for `to_payloads`."""
        return self.to_payloads([value])[0]

    @overload
    def from_payload(self, payload: Payload) -> Any: ...

    @overload
    def from_payload(self, payload: Payload, type_hint: type[T]) -> T: ...

    def from_payload(self, payload: Payload, type_hint: type | None = None) -> Any:
        """Read one payload. Errors as for `from_payloads`."""
        return self.from_payloads([payload], None if type_hint is None else [type_hint])[0]


class EncodingPayloadConverter(ABC):
    """Converts values of some types to payloads of one encoding; a part of a `CompositePayloadConverter`."""

    @property
    @abstractmethod
    def encoding(self) -> str:
        """The name under which its payloads are recorded."""
        raise NotImplementedError

    @abstractmethod
    def to_payload(self, value: Any) -> Payload | None:
        """Convert a value, or give None for the next converter to try.

        Raises:
            TypeError: not a type for which there is a form.
            ValueError: the type is right, the value is not.
            RuntimeError: anything else.
        """
        raise NotImplementedError

    @abstractmethod
    def from_payload(self, payload: Payload, type_hint: type | None = None) -> Any:
        """Read a payload of this encoding.

        Raises:
            RuntimeError: bad data.
            TypeError: it does not fit the hint.
        """
        raise NotImplementedError


class CompositePayloadConverter(PayloadConverter):
    """Asks several converters in turn; the first that takes a value has it. Reading goes by the payload's encoding.

    Attributes:
        converters: by encoding, in order.
    """

    converters: Mapping[bytes, EncodingPayloadConverter]

    def __init__(self, *converters: EncodingPayloadConverter) -> None:
        self.converters = {converter.encoding.encode(): converter for converter in converters}

    def to_payloads(self, values: Sequence[Any]) -> list[Payload]:
        """See base class. Always gives as many payloads as there are values."""
        result: list[Payload] = []
        try:
            for value in values:
                result.append(value.payload if isinstance(value, RawValue) else self._written(value))  # noqa: PERF401 - its length tells
        except ValueNotConvertibleError as error:
            index = len(result)
            what = "value" if len(values) == 1 else f"value {index + 1} of {len(values)}"
            raise error.named(what, index) from error.__cause__
        return result

    def _written(self, value: Any) -> Payload:
        try:
            for converter in self.converters.values():
                payload = converter.to_payload(value)
                if payload is not None:
                    return payload
        except ValueNotConvertibleError:
            raise
        except _REFUSALS as error:
            problem = f"was refused with {type(error).__name__}: {error}"
            raise ValueNotConvertibleError(type_of(value), problem=problem) from error
        problem = f"is taken by none of the converters ({', '.join(self._encodings())})"
        raise ValueNotConvertibleError(type_of(value), problem=problem)

    def from_payloads(self, payloads: Sequence[Payload], type_hints: list[type] | None = None) -> list[Any]:
        """See base class. Always gives as many values as there are payloads."""
        if type_hints is None:
            return [self._read(index, payload, None) for index, payload in enumerate(payloads)]
        # A handler may have fewer parameters than there are payloads, never the other way round.
        hints = zip_longest(payloads, type_hints[: len(payloads)])
        return [self._read(index, payload, hint) for index, (payload, hint) in enumerate(hints)]

    def _read(self, index: int, payload: Payload, hint: type | None) -> Any:
        if hint is RawValue:
            return RawValue(payload)
        encoding = payload.metadata.get("encoding", b"<none>")
        converter = self.converters.get(encoding)
        if converter is None:
            raise UnknownEncodingError(encoding.decode(errors="replace"), self._encodings())
        try:
            return converter.from_payload(payload, hint)
        except PayloadNotConvertibleError as error:
            raise PayloadNotConvertibleError(error.encoding, error.problem, hint=hint, index=index) from error.__cause__
        except _REFUSALS as error:
            raise PayloadNotConvertibleError(converter.encoding, str(error), hint=hint, index=index) from error

    def _encodings(self) -> list[str]:
        return [encoding.decode() for encoding in self.converters]


class BinaryNullPayloadConverter(EncodingPayloadConverter):
    """``None`` as ``binary/null``."""

    _metadata: Mapping[str, bytes] = {"encoding": b"binary/null"}

    @property
    def encoding(self) -> str:
        """See base class."""
        return "binary/null"

    def to_payload(self, value: Any) -> Payload | None:
        """See base class."""
        return Payload(self._metadata) if value is None else None

    def from_payload(self, payload: Payload, type_hint: type | None = None) -> None:
        """See base class."""
        del type_hint  # nothing is of any type
        if payload.data:
            raise PayloadNotConvertibleError(self.encoding, f"expected no data, found {len(payload.data)} bytes")


class BinaryPlainPayloadConverter(EncodingPayloadConverter):
    """``bytes`` as they are, as ``binary/plain``."""

    _metadata: Mapping[str, bytes] = {"encoding": b"binary/plain"}

    @property
    def encoding(self) -> str:
        """See base class."""
        return "binary/plain"

    def to_payload(self, value: Any) -> Payload | None:
        """See base class."""
        return Payload(self._metadata, bytes(value)) if isinstance(value, bytes) else None

    def from_payload(self, payload: Payload, type_hint: type | None = None) -> bytes:
        """See base class."""
        del type_hint  # as in the official SDK: bytes are bytes
        return payload.data
