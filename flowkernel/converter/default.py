"""The payload converter that is used unless the author chooses another."""

from __future__ import annotations

from typing import ClassVar

from flowkernel.converter.json_plain import JSONPlainPayloadConverter
from flowkernel.converter.payload_converter import (
    BinaryNullPayloadConverter,
    BinaryPlainPayloadConverter,
    CompositePayloadConverter,
    EncodingPayloadConverter,
)
from flowkernel.converter.protobuf import BinaryProtoPayloadConverter, JSONProtoPayloadConverter


class DefaultPayloadConverter(CompositePayloadConverter):
    """Takes ``None``, ``bytes``, protobuf messages, and everything that `JSONPlainPayloadConverter` takes."""

    default_encoding_payload_converters: ClassVar[tuple[EncodingPayloadConverter, ...]] = (
        BinaryNullPayloadConverter(),
        BinaryPlainPayloadConverter(),
        JSONProtoPayloadConverter(),
        BinaryProtoPayloadConverter(),
        JSONPlainPayloadConverter(),  # last: it refuses what it cannot take instead of passing it on
    )
    """Its parts, in order; a start for an author's own composition."""

    def __init__(self) -> None:
        super().__init__(*DefaultPayloadConverter.default_encoding_payload_converters)
