"""Protobuf messages as payloads, if the author has protobuf. Nothing here imports it before a message is at hand."""

from __future__ import annotations

import json
import sys
from abc import abstractmethod
from typing import Any

from flowkernel.converter.errors import PayloadNotConvertibleError
from flowkernel.converter.payload_converter import EncodingPayloadConverter
from flowkernel.model.payloads import Payload


def _is_message(value: Any) -> bool:
    # Whoever holds a message has imported its module.
    module = sys.modules.get("google.protobuf.message")
    return module is not None and isinstance(value, module.Message) and getattr(value, "DESCRIPTOR", None) is not None


class _ProtobufPayloadConverter(EncodingPayloadConverter):
    """What both forms share: the message type travels in the metadata."""

    def to_payload(self, value: Any) -> Payload | None:
        """See base class."""
        if not _is_message(value):
            return None
        name: str = value.DESCRIPTOR.full_name
        return Payload({"encoding": self.encoding.encode(), "messageType": name.encode()}, self._write(value))

    def from_payload(self, payload: Payload, type_hint: type | None = None) -> Any:
        """See base class. The message's generated module must have been imported."""
        del type_hint  # the payload names its type
        name = payload.metadata.get("messageType", b"<none>").decode(errors="replace")
        try:
            from google.protobuf import descriptor_pool, message_factory  # noqa: PLC0415 - optional
        except ImportError as error:
            problem = f"it holds the protobuf message {name}, and protobuf is not installed. Install it: pip install protobuf"
            raise PayloadNotConvertibleError(self.encoding, problem) from error
        try:
            descriptor: Any = descriptor_pool.Default().FindMessageTypeByName(name)
        except KeyError as error:
            problem = f"the protobuf message {name} is unknown. Import the module generated for it first"
            raise PayloadNotConvertibleError(self.encoding, problem) from error
        message = message_factory.GetMessageClass(descriptor)()
        self._read(payload.data, message)
        return message

    @abstractmethod
    def _write(self, message: Any) -> bytes: ...

    @abstractmethod
    def _read(self, data: bytes, message: Any) -> None: ...


class JSONProtoPayloadConverter(_ProtobufPayloadConverter):
    """Protobuf messages in their JSON form, as ``json/protobuf``.

    Args:
        ignore_unknown_fields: read messages of newer versions without an error.
    """

    def __init__(self, ignore_unknown_fields: bool = False) -> None:
        self._ignore_unknown_fields = ignore_unknown_fields

    @property
    def encoding(self) -> str:
        """See base class."""
        return "json/protobuf"

    def _write(self, message: Any) -> bytes:
        from google.protobuf import json_format  # noqa: PLC0415 - optional

        fields = json_format.MessageToDict(message)
        return json.dumps(fields, separators=(",", ":"), sort_keys=True).encode()

    def _read(self, data: bytes, message: Any) -> None:
        from google.protobuf import json_format  # noqa: PLC0415 - optional

        try:
            json_format.Parse(data, message, ignore_unknown_fields=self._ignore_unknown_fields)
        except json_format.ParseError as error:
            raise PayloadNotConvertibleError(self.encoding, str(error)) from error


class BinaryProtoPayloadConverter(_ProtobufPayloadConverter):
    """Protobuf messages in their binary form, as ``binary/protobuf``."""

    @property
    def encoding(self) -> str:
        """See base class."""
        return "binary/protobuf"

    def _write(self, message: Any) -> bytes:
        return message.SerializeToString()

    def _read(self, data: bytes, message: Any) -> None:
        from google.protobuf.message import DecodeError  # noqa: PLC0415 - optional

        try:
            message.ParseFromString(data)
        except DecodeError as error:
            raise PayloadNotConvertibleError(self.encoding, str(error)) from error
