from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

import anyio
import pytest

from flowkernel import converter
from flowkernel.converter import (
    DataConverter,
    DefaultFailureConverter,
    DefaultFailureConverterWithEncodedAttributes,
    DefaultPayloadConverter,
    FailureConverter,
    Payload,
    PayloadCodec,
    PayloadConverter,
)
from flowkernel.exceptions import ApplicationError, CancelledError, FailureError, TimeoutError, TimeoutType  # noqa: A004
from flowkernel.model.failures import ApplicationFailure, TimeoutFailure

T = TypeVar("T")


def run(work: Coroutine[Any, Any, T]) -> T:
    async def main() -> T:
        return await work

    return anyio.run(main)


class Packing(PayloadCodec):
    """Packs JSON, so that nothing of it can be read without unpacking."""

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return [
            Payload({"encoding": b"binary/packed"}, zlib.compress(b"|".join([p.metadata["encoding"], p.data]))) for p in payloads
        ]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return [self._unpack(p) if p.metadata["encoding"] == b"binary/packed" else p for p in payloads]

    @staticmethod
    def _unpack(payload: Payload) -> Payload:
        encoding, data = zlib.decompress(payload.data).split(b"|", 1)
        return Payload({"encoding": encoding}, data)


PACKED = DataConverter(payload_codec=Packing())


def test_defaults() -> None:
    assert converter.default() is DataConverter.default
    assert DataConverter.default.payload_codec is None
    assert isinstance(DataConverter.default.payload_converter, DefaultPayloadConverter)
    assert isinstance(DataConverter.default.failure_converter, DefaultFailureConverter)
    assert PayloadConverter.default is DataConverter.default.payload_converter
    assert FailureConverter.default is DataConverter.default.failure_converter
    with pytest.raises(dataclasses.FrozenInstanceError):
        DataConverter.default.payload_codec = Packing()  # type: ignore[misc]
    assert dataclasses.replace(DataConverter.default, payload_codec=PACKED.payload_codec).payload_codec is PACKED.payload_codec


def test_values_with_and_without_a_codec() -> None:
    for data_converter, encoding in ((DataConverter.default, b"json/plain"), (PACKED, b"binary/packed")):
        payloads = run(data_converter.encode([{"a": 1}, (2,)]))
        assert [payload.metadata["encoding"] for payload in payloads] == [encoding] * 2
        hints: list[Any] = [dict[str, float], tuple[int, ...]]
        assert run(data_converter.decode(payloads, hints)) == [{"a": 1.0}, (2,)]
        assert run(data_converter.decode([])) == run(data_converter.encode([])) == []
    assert run(PACKED.decode(run(DataConverter.default.encode([1])))) == [1]


def chain() -> FailureError:
    inner = TimeoutError("late", type=TimeoutType.HEARTBEAT, last_heartbeat_details=["secret beat"])
    middle = CancelledError("stop", "secret reason")
    middle.__cause__ = inner
    outer = ApplicationError("m", "secret detail", type="T")
    outer.__cause__ = middle
    return outer


def test_a_codec_is_applied_to_every_payload_of_a_failure() -> None:
    for failure_converter_class in (DefaultFailureConverter, DefaultFailureConverterWithEncodedAttributes):
        data_converter = dataclasses.replace(PACKED, failure_converter_class=failure_converter_class)
        failure = run(data_converter.encode_failure(chain()))
        assert isinstance(failure.info, ApplicationFailure)
        assert failure.info.details[0].metadata["encoding"] == b"binary/packed"
        assert failure.cause is not None
        assert failure.cause.cause is not None
        assert isinstance(failure.cause.cause.info, TimeoutFailure)
        assert failure.cause.cause.info.last_heartbeat_details[0].metadata["encoding"] == b"binary/packed"
        if failure_converter_class is DefaultFailureConverterWithEncodedAttributes:
            assert failure.encoded_attributes is not None
            assert failure.encoded_attributes.metadata["encoding"] == b"binary/packed"
        outer = run(data_converter.decode_failure(failure))
        assert isinstance(outer, ApplicationError)
        assert (outer.message, list(outer.details)) == ("m", ["secret detail"])
        assert isinstance(outer.cause, CancelledError)
        assert list(outer.cause.details) == ["secret reason"]
        assert isinstance(outer.cause.cause, TimeoutError)
        assert list(outer.cause.cause.last_heartbeat_details) == ["secret beat"]
        # What was read once can be recorded again.
        assert run(data_converter.encode_failure(outer)) == failure


def test_without_a_codec_failures_are_only_converted() -> None:
    failure = run(DataConverter.default.encode_failure(chain()))
    assert failure == DataConverter.default.failure_converter.to_failure(chain(), PayloadConverter.default)
    assert str(run(DataConverter.default.decode_failure(failure))) == "T: m"
