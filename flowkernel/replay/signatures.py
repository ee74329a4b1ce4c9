"""What a function's signature says: types to read payloads as, and whether it can be called with positional arguments."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Sequence
from typing import Any

from flowkernel.common import RawValue

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_DYNAMIC_ARGUMENTS: tuple[object, ...] = (Sequence[RawValue], typing.Sequence[RawValue])  # authors may write either


def type_hints(fn: Callable[..., Any]) -> tuple[list[Any] | None, Any]:
    """Types of the positional parameters (a method's ``self`` left out) and of the result.

    The parameter types are None when one of them has no annotation or is not positional: then payloads are read untyped. The
    result type is None when there is no annotation.

    Raises:
        TypeError: an annotation names something that cannot be found from the function's module.
    """
    target: Callable[..., Any] = fn
    if not inspect.isroutine(fn) and not isinstance(fn, type):
        target = type(fn).__call__
    try:
        hints = typing.get_type_hints(target)
    except NameError as error:
        raise TypeError(
            f"an annotation of {name_of_function(fn)} cannot be resolved ({error}). "
            f"Define or import that name at the top level of its module or notebook, before the function."
        ) from error
    result = hints.get("return")
    types: list[Any] = []
    for index, parameter in enumerate(inspect.signature(target).parameters.values()):
        if index == 0 and parameter.name == "self" and "self" not in hints:
            continue
        if parameter.kind not in _POSITIONAL or parameter.name not in hints:
            return None, result
        types.append(hints[parameter.name])
    return types, result


def name_of_function(fn: Callable[..., Any]) -> str:
    """A function's name for error messages."""
    return getattr(fn, "__qualname__", None) or type(fn).__qualname__


def require_positional(fn: Callable[..., Any], role: str) -> None:
    """Refuse a function that cannot be called with positional arguments alone.

    Raises:
        TypeError: a keyword-only parameter has no default.
    """
    for parameter in inspect.signature(fn).parameters.values():
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY and parameter.default is inspect.Parameter.empty:
            raise TypeError(
                f"{role} {name_of_function(fn)} has the keyword-only parameter {parameter.name!r} without a default. "
                f"It is called with positional arguments: make the parameter positional, or give it a default."
            )


def same_parameters(first: Callable[..., Any], second: Callable[..., Any]) -> bool:
    """Whether two functions take the same parameters, whatever their names."""

    def shape(fn: Callable[..., Any]) -> list[inspect.Parameter]:
        return [parameter.replace(name="p") for parameter in inspect.signature(fn).parameters.values()]

    return shape(first) == shape(second)


def require_dynamic_run(fn: Callable[..., Any], types: list[Any] | None) -> None:
    """Refuse a dynamic workflow or activity that does not take a single sequence of raw values.

    Raises:
        TypeError: it does not.
    """
    if types is None or len(types) != 1 or types[0] not in _DYNAMIC_ARGUMENTS:
        raise TypeError(f"{name_of_function(fn)} is dynamic, so it takes one argument, annotated Sequence[common.RawValue]")


def require_dynamic_handler(fn: Callable[..., Any], types: list[Any] | None) -> None:
    """Refuse a dynamic handler that does not take a name and a sequence of raw values.

    Raises:
        TypeError: it does not.
    """
    if types is None or len(types) != 2 or types[0] is not str or types[1] not in _DYNAMIC_ARGUMENTS:
        raise TypeError(
            f"{name_of_function(fn)} is a dynamic handler, so it takes a name annotated str and arguments annotated "
            f"Sequence[common.RawValue]"
        )
