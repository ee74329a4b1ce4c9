"""Errors of conversion. The call can be fixed; nothing was written."""

from __future__ import annotations

from typing import Any

from flowkernel.model.errors import FlowkernelError

WAY_OUT = (
    "Pass JSON types (dict, list, str, int, float, bool, None), bytes, a dataclass or a pydantic model, "
    "or give DataConverter a payload_converter_class that takes this type"
)


def type_name(kind: object) -> str:
    """A type or type hint as its author would write it."""
    if not isinstance(kind, type) or hasattr(kind, "__args__"):
        return str(kind).replace("typing.", "")
    hidden = kind.__module__ in {"builtins", "__main__"}
    return kind.__qualname__ if hidden else f"{kind.__module__}.{kind.__qualname__}"


def type_of(value: object) -> type[object]:
    """``type(value)``, for a value of which nothing is known."""
    return type(value)


class ValueNotConvertibleError(FlowkernelError, TypeError):
    """A value has no form as a payload.

    Args:
        kind: the type that is in the way.
        what: what was to be converted, as the caller knows it, for example ``argument 'rows'``.
        place: where in it, for example ``['when'][3]``; empty for the value itself.
        problem: why, as a predicate.
        way_out: what to do, without a full stop.
        index: the position among the values of the call, from 0, if known.
    """

    def __init__(
        self,
        kind: type,
        *,
        what: str = "value",
        place: str = "",
        problem: str = "has no JSON form",
        way_out: str = WAY_OUT,
        index: int | None = None,
    ) -> None:
        found = f"{what} of type {type_name(kind)} cannot be converted: it {problem}"
        if place:
            found = f"{what} cannot be converted: {place} is of type {type_name(kind)} and {problem}"
        super().__init__(f"{found}. {way_out}")
        self.kind = kind
        self.what = what
        self.place = place
        self.problem = problem
        self.way_out = way_out
        self.index = index

    def named(self, what: str, index: int | None = None) -> ValueNotConvertibleError:
        """The same error, saying what was to be converted: a caller knows more than a converter."""
        return ValueNotConvertibleError(
            self.kind,
            what=what,
            place=self.place,
            problem=self.problem,
            way_out=self.way_out,
            index=self.index if index is None else index,
        )


class HintMismatchError(FlowkernelError, TypeError):
    """A recorded value does not fit the type hint that it should be read as.

    Args:
        problem: what was expected and what was found.
        place: where in the value, for example ``.rows[3]``; empty for the value itself.
    """

    def __init__(self, problem: str, place: str = "") -> None:
        super().__init__(f"at {place}: {problem}" if place else problem)
        self.problem = problem
        self.place = place

    @staticmethod
    def expected(hint: object, value: object) -> HintMismatchError:
        """The usual problem: another type."""
        return HintMismatchError(f"expected {type_name(hint)}, found {type_name(type_of(value))}")

    @staticmethod
    def inside(step: str, error: Exception) -> HintMismatchError:
        """An error one step further out."""
        if isinstance(error, HintMismatchError):
            return HintMismatchError(error.problem, step + error.place)
        return HintMismatchError(f"{type_name(type(error))}: {error}", step)


class PayloadNotConvertibleError(FlowkernelError, RuntimeError, TypeError):
    """A payload cannot be read as what is asked for.

    Both a ``RuntimeError`` and a ``TypeError``: the official SDK raises one for bad data and the other for hints that do not fit.

    Args:
        encoding: the payload's encoding.
        problem: what is wrong with it.
        hint: the type that was asked for, if any.
        index: the position among the payloads of the call, from 0, if known.
    """

    def __init__(self, encoding: str, problem: str, *, hint: Any = None, index: int | None = None) -> None:
        which = "" if index is None else f" {index + 1}"
        wanted = "" if hint is None else f" as {type_name(hint)}"
        super().__init__(f"payload{which} ({encoding}) cannot be read{wanted}: {problem}")
        self.encoding = encoding
        self.problem = problem
        self.hint = hint
        self.index = index


class UnknownEncodingError(FlowkernelError, KeyError):
    """No converter knows a payload's encoding.

    Args:
        encoding: what the payload's metadata says.
        known: the encodings that the converter knows.
    """

    def __init__(self, encoding: str, known: list[str]) -> None:
        super().__init__(encoding)
        self.encoding = encoding
        self.known = known

    def __str__(self) -> str:  # a KeyError shows the repr of its argument
        return (
            f"no converter for the payload encoding {self.encoding!r} (known: {', '.join(self.known)}). Use the DataConverter, "
            "and the codec if there is one, that it was written with"
        )
