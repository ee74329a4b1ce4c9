"""How values become payloads and back: JSON with type hints, bytes, protobuf; codecs; exceptions as failures.

Names and interfaces are those of Temporal's Python SDK, so that an author's converters and codecs carry over. What differs: a
`Payload` is ``Payload(metadata=..., data=...)`` and never changed, and a failure is returned, not filled in.
"""

from __future__ import annotations

from flowkernel.converter.data_converter import DataConverter, default
from flowkernel.converter.default import DefaultPayloadConverter
from flowkernel.converter.errors import (
    HintMismatchError,
    PayloadNotConvertibleError,
    UnknownEncodingError,
    ValueNotConvertibleError,
)
from flowkernel.converter.failure_converter import (
    DefaultFailureConverter,
    DefaultFailureConverterWithEncodedAttributes,
    FailureConverter,
)
from flowkernel.converter.json_plain import AdvancedJSONEncoder, JSONPlainPayloadConverter
from flowkernel.converter.naming import PAYLOAD_SIZE_LIMIT, PayloadTooLargeError
from flowkernel.converter.payload_codec import PayloadCodec
from flowkernel.converter.payload_converter import (
    BinaryNullPayloadConverter,
    BinaryPlainPayloadConverter,
    CompositePayloadConverter,
    EncodingPayloadConverter,
    PayloadConverter,
)
from flowkernel.converter.protobuf import BinaryProtoPayloadConverter, JSONProtoPayloadConverter
from flowkernel.converter.search_attributes import (
    decode_search_attributes,
    decode_typed_search_attributes,
    encode_search_attribute_values,
    encode_search_attributes,
    encode_typed_search_attribute_value,
)
from flowkernel.converter.typed_values import JSONTypeConverter, JSONTypeConverterUnhandled, value_to_type
from flowkernel.model.payloads import Payload

__all__ = [
    "PAYLOAD_SIZE_LIMIT",
    "AdvancedJSONEncoder",
    "BinaryNullPayloadConverter",
    "BinaryPlainPayloadConverter",
    "BinaryProtoPayloadConverter",
    "CompositePayloadConverter",
    "DataConverter",
    "DefaultFailureConverter",
    "DefaultFailureConverterWithEncodedAttributes",
    "DefaultPayloadConverter",
    "EncodingPayloadConverter",
    "FailureConverter",
    "HintMismatchError",
    "JSONPlainPayloadConverter",
    "JSONProtoPayloadConverter",
    "JSONTypeConverter",
    "JSONTypeConverterUnhandled",
    "Payload",
    "PayloadCodec",
    "PayloadConverter",
    "PayloadNotConvertibleError",
    "PayloadTooLargeError",
    "UnknownEncodingError",
    "ValueNotConvertibleError",
    "decode_search_attributes",
    "decode_typed_search_attributes",
    "default",
    "encode_search_attribute_values",
    "encode_search_attributes",
    "encode_typed_search_attribute_value",
    "value_to_type",
]
