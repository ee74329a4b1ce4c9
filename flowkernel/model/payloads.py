"""Payloads: an author's values, once converted to bytes. The layers below the converters never look inside."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias


class Payload:
    """A converted value: bytes plus the metadata that says how to read them (Temporal's ``Payload``).

    Args:
        metadata: at least ``encoding``, for example ``{"encoding": b"json/plain"}``. Kept and handed back unchanged.
        data: the encoded value.
    """

    __slots__ = ("data", "metadata")

    def __init__(self, metadata: Mapping[str, bytes] | None = None, data: bytes = b"") -> None:
        self.metadata: Mapping[str, bytes] = metadata if metadata is not None else {}
        self.data = data

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Payload) and self.data == other.data and dict(self.metadata) == dict(other.metadata)

    def __hash__(self) -> int:
        return hash((self.data, frozenset(self.metadata.items())))

    def __repr__(self) -> str:
        encoding = self.metadata.get("encoding", b"?").decode(errors="replace")
        shown = self.data if len(self.data) <= 60 else self.data[:57] + b"..."
        return f"Payload({encoding}, {shown!r})"

    @property
    def size(self) -> int:
        """Bytes that count against the payload limit: data, metadata keys and values."""
        return len(self.data) + sum(len(key) + len(value) for key, value in self.metadata.items())


Payloads: TypeAlias = tuple[Payload, ...]
"""The arguments of a call, or the single result in a tuple of one. No value at all is the empty tuple."""

Header: TypeAlias = dict[str, Payload]
"""What interceptors pass along beside the arguments."""
