"""Payload codecs at the worker's edge: payloads are decoded before code sees them, and encoded before the service does."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, cast

import msgspec

from flowkernel.converter import DataConverter
from flowkernel.model.failures import Failure
from flowkernel.model.payloads import Payload, Payloads

T = TypeVar("T")
Code = Callable[[list[Payload]], Awaitable[list[Payload]]]
CodeFailure = Callable[[Failure], Awaitable[Failure]]


class Coding:
    """Applies a converter's codec, if it has one, from threads and coroutines.

    Args:
        loop: where a codec's coroutines run when a thread needs them.
    """

    def __init__(self, converter: DataConverter, loop: asyncio.AbstractEventLoop | None) -> None:
        self._codec = converter.payload_codec
        self._loop = loop

    @property
    def active(self) -> bool:
        """Whether there is a codec at all."""
        return self._codec is not None

    async def decode(self, value: T) -> T:
        """`value` with every payload in it decoded; it may be a struct, a tuple or a dict."""
        if self._codec is None:
            return value
        return cast(T, await _map(value, self._codec_decode, self._codec.decode_failure))

    async def encode(self, value: T) -> T:
        """`value` with every payload in it encoded."""
        if self._codec is None:
            return value
        return cast(T, await _map(value, self._codec_encode, self._codec.encode_failure))

    def decode_sync(self, value: T) -> T:
        """`decode` from a thread that is not the loop's."""
        return value if self._codec is None else self._wait(self.decode(value))

    def encode_sync(self, value: T) -> T:
        """`encode` from a thread that is not the loop's."""
        return value if self._codec is None else self._wait(self.encode(value))

    def _wait(self, coroutine: Any) -> Any:
        if self._loop is None or self._loop.is_closed():
            return asyncio.run(coroutine)
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    async def _codec_decode(self, payloads: list[Payload]) -> list[Payload]:
        assert self._codec is not None
        return list(await self._codec.decode(payloads))

    async def _codec_encode(self, payloads: list[Payload]) -> list[Payload]:
        assert self._codec is not None
        return list(await self._codec.encode(payloads))


async def _map(value: Any, code: Code, code_failure: CodeFailure) -> Any:
    """Rebuild `value` with its payloads coded. A tuple of payloads is coded as one list, as Temporal does."""
    if isinstance(value, Payload):
        return (await code([value]))[0]
    if isinstance(value, tuple):
        items = cast("tuple[Any, ...]", value)
        if items and all(isinstance(item, Payload) for item in items):
            return tuple(await code(list(cast(Payloads, items))))
        return tuple([await _map(item, code, code_failure) for item in items])
    if isinstance(value, dict):
        return {key: await _map(item, code, code_failure) for key, item in cast("dict[str, Any]", value).items()}
    if isinstance(value, Failure):
        return await code_failure(value)
    if isinstance(value, msgspec.Struct):
        changes: dict[str, Any] = {}
        for name in value.__struct_fields__:
            if name in _NEVER_CODED:
                continue
            before = getattr(value, name)
            if isinstance(before, (Payload, tuple, dict, msgspec.Struct)):
                after = await _map(before, code, code_failure)
                if after is not before:
                    changes[name] = after
        return msgspec.structs.replace(value, **changes) if changes else value
    return value


_NEVER_CODED = frozenset({"header", "search_attributes"})
"""Search attributes must stay readable for the service; headers are coded only when asked for."""
