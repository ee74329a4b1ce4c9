"""Payload codecs: what happens to bytes after conversion, for example compression or encryption."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias

from msgspec.structs import replace

from flowkernel.model.failures import ApplicationFailure, CanceledFailure, Failure, TimeoutFailure
from flowkernel.model.payloads import Payload, Payloads

Step: TypeAlias = Callable[[Sequence[Payload]], Awaitable[list[Payload]]]


class PayloadCodec(ABC):
    """Encodes and decodes payloads. Never runs in workflow code, so it may wait for I/O.

    Payloads are shared: return new ones, and leave their metadata as they are.
    """

    @abstractmethod
    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Encode payloads; gives at least one and no more than it got."""
        raise NotImplementedError

    @abstractmethod
    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Decode payloads; gives at least one and no more than it got. Must take payloads that it did not encode, unchanged."""
        raise NotImplementedError

    async def encode_failure(self, failure: Failure) -> Failure:
        """A copy of a failure and its causes with all payloads encoded."""
        return await apply_to_failure(failure, self.encode)

    async def decode_failure(self, failure: Failure) -> Failure:
        """A copy of a failure and its causes with all payloads decoded."""
        return await apply_to_failure(failure, self.decode)


async def apply_to_failure(failure: Failure, step: Step) -> Failure:
    """A copy of a failure and its causes with a codec's step applied to all payloads."""
    chain = [failure]
    while (cause := chain[-1].cause) is not None:
        chain.append(cause)
    done: Failure | None = None
    for one in reversed(chain):
        info, attributes = one.info, one.encoded_attributes
        if attributes is not None:
            attributes = (await step([attributes]))[0]
        if isinstance(info, ApplicationFailure | CanceledFailure):
            info = replace(info, details=await _applied(info.details, step))
        elif isinstance(info, TimeoutFailure):
            info = replace(info, last_heartbeat_details=await _applied(info.last_heartbeat_details, step))
        done = replace(one, info=info, encoded_attributes=attributes, cause=done)
    assert done is not None
    return done


async def _applied(payloads: Payloads, step: Step) -> Payloads:
    return tuple(await step(payloads)) if payloads else payloads
