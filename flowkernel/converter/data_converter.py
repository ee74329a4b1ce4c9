"""The data converter: payload converter, codec and failure converter in one."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from flowkernel.converter.default import DefaultPayloadConverter
from flowkernel.converter.failure_converter import DefaultFailureConverter, FailureConverter
from flowkernel.converter.naming import PAYLOAD_SIZE_LIMIT, ValueName, check_sizes, to_payloads
from flowkernel.converter.payload_codec import PayloadCodec
from flowkernel.converter.payload_converter import PayloadConverter
from flowkernel.model.failures import Failure
from flowkernel.model.payloads import Payload


@dataclass(frozen=True)
class DataConverter:
    """How values become payloads and bytes, and exceptions failures.

    A copy with another part: ``dataclasses.replace(DataConverter.default, payload_codec=...)``.

    Attributes:
        payload_converter_class: made once, without arguments. Its instances also work in workflow code.
        payload_codec: applied to payloads outside workflow code; None for none.
        failure_converter_class: made once, without arguments.
        payload_size_limit: most bytes that one value may take, after the codec; None for no limit.
        payload_converter: the instance.
        failure_converter: the instance.
    """

    payload_converter_class: type[PayloadConverter] = DefaultPayloadConverter
    payload_codec: PayloadCodec | None = None
    failure_converter_class: type[FailureConverter] = DefaultFailureConverter
    payload_size_limit: int | None = PAYLOAD_SIZE_LIMIT
    payload_converter: PayloadConverter = dataclasses.field(init=False)
    failure_converter: FailureConverter = dataclasses.field(init=False)

    default: ClassVar[DataConverter]
    """JSON, bytes and None; no codec."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "payload_converter", self.payload_converter_class())
        object.__setattr__(self, "failure_converter", self.failure_converter_class())

    async def encode(self, values: Sequence[Any]) -> list[Payload]:
        """Convert values and apply the codec.

        Raises:
            ValueNotConvertibleError: there is no form for a value.
        """
        payloads = self.payload_converter.to_payloads(values)
        return await self.payload_codec.encode(payloads) if self.payload_codec and payloads else payloads

    async def encode_named(self, values: Sequence[Any], name: ValueName) -> tuple[Payload, ...]:
        """As `encode`, for values that will be recorded; errors say which one it was.

        Args:
            name: see `flowkernel.converter.naming`.

        Raises:
            ValueNotConvertibleError: there is no form for a value.
            PayloadTooLargeError: one is past the limit.
        """
        if not values:
            return ()
        payloads = to_payloads(self.payload_converter, values, name)
        if self.payload_codec:
            payloads = await self.payload_codec.encode(payloads)
        check_sizes(payloads, self.payload_size_limit, name)
        return tuple(payloads)

    async def decode(self, payloads: Sequence[Payload], type_hints: list[type] | None = None) -> list[Any]:
        """Undo the codec and read payloads.

        Raises:
            PayloadNotConvertibleError: bad data, or it does not fit its hint.
            UnknownEncodingError: written by a converter or codec that is not here.
        """
        if self.payload_codec and payloads:
            payloads = await self.payload_codec.decode(payloads)
        return self.payload_converter.from_payloads(payloads, type_hints)

    async def encode_failure(self, exception: BaseException) -> Failure:
        """Convert an exception and apply the codec to its payloads. Errors as for `FailureConverter.to_failure`."""
        failure = self.failure_converter.to_failure(exception, self.payload_converter)
        return await self.payload_codec.encode_failure(failure) if self.payload_codec else failure

    async def decode_failure(self, failure: Failure) -> BaseException:
        """Undo the codec and convert a failure to an exception."""
        if self.payload_codec:
            failure = await self.payload_codec.decode_failure(failure)
        return self.failure_converter.from_failure(failure, self.payload_converter)


def default() -> DataConverter:
    """`DataConverter.default`, under the SDK's older name."""
    return DataConverter.default


DataConverter.default = DataConverter()
PayloadConverter.default = DataConverter.default.payload_converter
FailureConverter.default = DataConverter.default.failure_converter
