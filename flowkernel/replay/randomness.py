"""The seed of a run's random numbers.

Temporal's core seeds a run with SipHash-1-3 of its first run id (keys zero, the text followed by a byte 0xFF). The same here, so
that a history made there gives the same random numbers and UUIDs here, and the other way round.
"""

from __future__ import annotations

_MASK = (1 << 64) - 1


def _rotate(value: int, bits: int) -> int:
    return ((value << bits) | (value >> (64 - bits))) & _MASK


def _siphash_1_3(data: bytes) -> int:
    state = [0x736F6D6570736575, 0x646F72616E646F6D, 0x6C7967656E657261, 0x7465646279746573]

    def rounds(count: int) -> None:
        v0, v1, v2, v3 = state
        for _ in range(count):
            v0 = (v0 + v1) & _MASK
            v1 = _rotate(v1, 13) ^ v0
            v0 = _rotate(v0, 32)
            v2 = (v2 + v3) & _MASK
            v3 = _rotate(v3, 16) ^ v2
            v0 = (v0 + v3) & _MASK
            v3 = _rotate(v3, 21) ^ v0
            v2 = (v2 + v1) & _MASK
            v1 = _rotate(v1, 17) ^ v2
            v2 = _rotate(v2, 32)
        state[:] = [v0, v1, v2, v3]

    whole = len(data) - len(data) % 8
    last = int.from_bytes(data[whole:], "little") | (len(data) & 0xFF) << 56
    for word in [*(int.from_bytes(data[index : index + 8], "little") for index in range(0, whole, 8)), last]:
        state[3] ^= word
        rounds(1)
        state[0] ^= word
    state[2] ^= 0xFF
    rounds(3)
    return state[0] ^ state[1] ^ state[2] ^ state[3]


def seed_of(run_id: str) -> int:
    """The 64-bit seed that belongs to a run id."""
    return _siphash_1_3(run_id.encode() + b"\xff")
