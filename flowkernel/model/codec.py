"""How model values become text in the database and back.

Attributes are stored as JSON so that people can query them with SQL. A payload whose bytes are UTF-8 is stored as that text,
any other as base64; either way the very same bytes come back.
"""

from __future__ import annotations

import base64
import typing
from collections.abc import Callable
from typing import Any, cast

import msgspec

from flowkernel.model import events as event_types
from flowkernel.model import records as record_types
from flowkernel.model.events import Attributes, Event, EventAttributes
from flowkernel.model.payloads import Payload
from flowkernel.model.records import Record


def _stored_bytes(value: bytes) -> str | dict[str, str]:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(value).decode("ascii")}


def _restored_bytes(value: str | dict[str, str]) -> bytes:
    return value.encode("utf-8") if isinstance(value, str) else base64.b64decode(value["base64"])


def _encode_payload(value: Any) -> Any:
    if type(value) is not Payload:
        raise NotImplementedError(f"no stored form for {type(value).__name__}")
    stored: dict[str, Any] = {key: _stored_bytes(data) for key, data in value.metadata.items()}
    return {"metadata": stored, "data": _stored_bytes(value.data)}


def _decode_payload(kind: type[Any], value: Any) -> Any:
    if kind is not Payload:
        raise NotImplementedError(f"no stored form for {kind.__name__}")
    metadata = {key: _restored_bytes(data) for key, data in value["metadata"].items()}
    return Payload(metadata, _restored_bytes(value["data"]))


_encoder = msgspec.json.Encoder(enc_hook=_encode_payload)

encode: Callable[[Any], bytes] = _encoder.encode
"""Any model value as JSON text in bytes."""


def _decoders(union: Any) -> dict[str, msgspec.json.Decoder[Any]]:
    kinds = [kind for kind in typing.get_args(union) if kind is not record_types.EventBuffered]  # has a form of its own
    return {kind.__name__: msgspec.json.Decoder(kind, dec_hook=_decode_payload) for kind in kinds}


_ATTRIBUTES = _decoders(event_types.EventAttributes)
_RECORDS = _decoders(record_types.Record)
_USER_METADATA = msgspec.json.Decoder(event_types.UserMetadata, dec_hook=_decode_payload)


class UnknownStoredName(ValueError):
    """A stored row of a kind that this version does not know."""

    def __init__(self, kind: str, name: str) -> None:
        super().__init__(f"{kind} {name!r} is not known to this version of flowkernel; it was written by a newer one")


def decode_attributes(stored_name: str, text: str | bytes) -> EventAttributes:
    """Read an event's attributes.

    Raises:
        UnknownStoredName: the event type is not known.
        msgspec.ValidationError: the text does not fit the type.
    """
    try:
        decoder = _ATTRIBUTES[stored_name]
    except KeyError:
        raise UnknownStoredName("event type", stored_name) from None
    return decoder.decode(text)


def decode_event(event_id: int, event_time: int, stored_name: str, attributes: str, user_metadata: str | None) -> Event:
    """Put a stored event together again. Errors as for `decode_attributes`."""
    metadata = _USER_METADATA.decode(user_metadata) if user_metadata else None
    return Event(event_id, event_time, decode_attributes(stored_name, attributes), metadata)


def _encode_buffered(record: record_types.EventBuffered) -> bytes:
    event = record.event
    return encode(
        {
            "time": record.time,
            "event_time": event.event_time,
            "stored_name": event.stored_name,
            "attributes": event.attributes,
            "user_metadata": event.user_metadata,
        }
    )


def _decode_buffered(text: str | bytes) -> record_types.EventBuffered:
    row = cast("dict[str, Any]", msgspec.json.decode(text))
    kind = _ATTRIBUTES.get(row["stored_name"])
    if kind is None:
        raise UnknownStoredName("event type", row["stored_name"])
    attributes = cast(Attributes, msgspec.convert(row["attributes"], kind.type, dec_hook=_decode_payload))
    metadata = row["user_metadata"]
    if metadata is not None:
        metadata = msgspec.convert(metadata, event_types.UserMetadata, dec_hook=_decode_payload)
    event = Event(0, row["event_time"], cast(EventAttributes, attributes), metadata)
    return record_types.EventBuffered(row["time"], event)


def encode_record(record: Record) -> bytes:
    """A record as JSON text in bytes; its stored name is its class's name."""
    return _encode_buffered(record) if isinstance(record, record_types.EventBuffered) else encode(record)


def decode_record(stored_name: str, text: str | bytes) -> Record:
    """Read a record.

    Raises:
        UnknownStoredName: the record kind is not known.
        msgspec.ValidationError: the text does not fit the type.
    """
    if stored_name == "EventBuffered":
        return _decode_buffered(text)
    try:
        decoder = _RECORDS[stored_name]
    except KeyError:
        raise UnknownStoredName("record kind", stored_name) from None
    return decoder.decode(text)
