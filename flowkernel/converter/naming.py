"""Saying which value it was that cannot be recorded: an author knows arguments by their names."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from flowkernel.converter.errors import ValueNotConvertibleError
from flowkernel.converter.payload_converter import PayloadConverter
from flowkernel.model.errors import FlowkernelError
from flowkernel.model.payloads import Payload

PAYLOAD_SIZE_LIMIT = 2 * 1024 * 1024
"""Bytes that one value may take as a payload: Temporal's limit."""

ValueName = Callable[[int, int], str]
"""What to call a value: takes its position, from 0, and how many there are."""


class PayloadTooLargeError(FlowkernelError, ValueError):
    """A value takes too many bytes as a payload. Nothing was written.

    Args:
        what: the value, as its author knows it.
        size: bytes that it takes, after the codec.
        limit: bytes that it may take.
    """

    def __init__(self, what: str, size: int, limit: int) -> None:
        super().__init__(
            f"{what} takes {_shown(size)}; the limit is {_shown(limit)}. Pass a path or a key instead of the data itself, "
            f"or set DataConverter(payload_size_limit=...)"
        )
        self.what = what
        self.size = size
        self.limit = limit


def _shown(size: int) -> str:
    for unit, length in (("MiB", 1024 * 1024), ("KiB", 1024)):
        if size >= length:
            return f"{size / length:.1f} {unit}".replace(".0 ", " ")
    return f"{size:,} bytes"


def arguments_of(owner: str, fn: Callable[..., Any] | None = None) -> ValueName:
    """Names of arguments: ``workflow 'load': argument 'rows'``, or their number if the signature does not tell.

    Args:
        owner: what they are given to.
        fn: the function that takes them, with or without ``self``.
    """

    def name(index: int, count: int) -> str:
        names: list[str] = []
        if fn is not None:
            parameters = [found for found in inspect.signature(fn).parameters.values() if found.name != "self"]
            names = [found.name for found in parameters if found.kind is not inspect.Parameter.VAR_POSITIONAL]
        if index < len(names):
            return f"{owner}: argument {names[index]!r}"
        return f"{owner}: argument {index + 1} of {count}" if count > 1 else f"{owner}: its argument"

    return name


def always(what: str) -> ValueName:
    """The same name for whichever value it is."""
    return lambda index, count: what if count == 1 else f"{what} {index + 1} of {count}"


def to_payloads(converter: PayloadConverter, values: Sequence[Any], name: ValueName) -> list[Payload]:
    """Convert values.

    Raises:
        ValueNotConvertibleError: it says which value by its name.
    """
    try:
        return converter.to_payloads(values)
    except ValueNotConvertibleError as error:
        if error.index is None:
            raise
        raise error.named(name(error.index, len(values))) from error.__cause__


def check_sizes(payloads: Sequence[Payload], limit: int | None, name: ValueName) -> None:
    """Refuse payloads that are too large; a limit of None takes all.

    Raises:
        PayloadTooLargeError: it says which one by its name.
    """
    if limit is None:
        return
    for index, payload in enumerate(payloads):
        size = len(payload.data)
        if size > limit:
            raise PayloadTooLargeError(name(index, len(payloads)), size, limit)
