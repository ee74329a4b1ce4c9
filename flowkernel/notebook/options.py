"""The magics' own little language: words split as a shell does, options with Temporal's names, values as Python expressions.

IPython's `magic_arguments` keeps quotes and turns mistakes into printed text; expansion of ``$x`` and ``{x}`` mangles what it
does not understand. Here a word is a word, and a value that should come from the notebook is a Python expression.
"""

from __future__ import annotations

import argparse
import ast
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import timedelta
from typing import Any, NoReturn, cast

from flowkernel.common import RetryPolicy
from flowkernel.durations import InvalidDurationError, duration, to_timedelta
from flowkernel.notebook.errors import UsageError, nearest

__all__ = ["CommandParser", "HelpShown", "Words", "evaluate", "parse_duration", "parse_retry", "split_words"]

_BRACKETS = {"(": ")", "[": "]", "{": "}"}
_GUARD = re.compile("\x00(\\d+)\x00")
_RETRY_DURATIONS = {"initial_interval", "maximum_interval"}


@dataclass(frozen=True)
class Words:
    """A magic's line, split.

    Attributes:
        words: the words, quotes taken off.
        quiet: whether the line ended with a semicolon, which asks for no output.
    """

    words: tuple[str, ...]
    quiet: bool


class HelpShown(Exception):
    """``--help`` was asked for; ``text`` is what to print."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


def split_words(line: str, command: str = "%workflow") -> Words:
    """Split a magic's line into words, as a POSIX shell would, but for brackets: what they enclose is Python and stays as it is.

    Raises:
        UsageError: a quote is not closed.
    """
    stripped = line.strip()
    quiet = stripped.endswith(";")
    guarded, kept = _guard_brackets(stripped.removesuffix(";"))
    try:
        words = shlex.split(guarded, comments=False, posix=True)
    except ValueError as error:
        hint = "Close the quote, or escape it with a backslash."
        raise UsageError(f"{error} in: {stripped}", command=command, hint=hint) from None
    return Words(tuple(_GUARD.sub(lambda found: kept[int(found[1])], word) for word in words), quiet)


def _guard_brackets(text: str) -> tuple[str, list[str]]:
    """Replace each outermost bracketed part by a mark without blanks or quotes."""
    parts: list[str] = []
    kept: list[str] = []
    position = 0
    while position < len(text):
        end = _end_of_bracket(text, position) if text[position] in _BRACKETS else None
        if end is not None:
            parts.append(f"\x00{len(kept)}\x00")
            kept.append(text[position:end])
            position = end
            continue
        end = _end_of_quote(text, position) if text[position] in "'\"" else position + (2 if text[position] == "\\" else 1)
        parts.append(text[position:end])
        position = end
    return "".join(parts), kept


def _end_of_quote(text: str, start: int) -> int:
    position = start + 1
    while position < len(text) and text[position] != text[start]:
        position += 2 if text[position] == "\\" and text[start] == '"' else 1
    return position + 1


def _end_of_bracket(text: str, start: int) -> int | None:
    expected: list[str] = []
    position = start
    while position < len(text):
        sign = text[position]
        if sign in "'\"":
            position = _end_of_quote(text, position)
            continue
        if sign in _BRACKETS:
            expected.append(_BRACKETS[sign])
        elif expected and sign == expected[-1]:
            expected.pop()
            if not expected:
                return position + 1
        position += 1
    return None


class CommandParser(argparse.ArgumentParser):
    """An argument parser whose mistakes are exceptions, and whose help is text.

    Raises:
        UsageError: from `parse`, naming the option and the nearest one there is.
        HelpShown: from `parse`, when ``--help`` is among the words.
    """

    def __init__(self, command: str, summary: str, examples: str) -> None:
        super().__init__(
            prog=command,
            description=summary,
            epilog=f"examples:\n{examples}",
            add_help=False,
            allow_abbrev=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        self.add_argument("-h", "--help", action="store_true", help="show this text")

    def parse(self, words: Sequence[str]) -> argparse.Namespace:
        """Parse words; see the class for what it raises."""
        if any(word in {"-h", "--help"} for word in words):
            raise HelpShown(self.format_help())
        self._refuse_unknown_options(words)
        return self.parse_args(list(words))

    @property
    def option_names(self) -> dict[str, str]:
        """The long options and what each is for."""
        return {
            name: action.help or ""
            for action in self._actions  # argparse has no public list of them
            for name in action.option_strings
            if name.startswith("--")
        }

    def _refuse_unknown_options(self, words: Sequence[str]) -> None:
        takes_value = {name for action in self._actions if action.nargs != 0 for name in action.option_strings}
        known = self.option_names
        awaiting = False
        for word in words:
            if awaiting:
                awaiting = False
                continue
            name = word.partition("=")[0]
            if word.startswith("--") and len(word) > 2 and name not in known:
                close = nearest(name, known)
                hint = f"Did you mean {close}?" if close else f"Known: {', '.join(sorted(known))}."
                raise UsageError(f"unknown option {name}", command=self.prog, hint=hint)
            awaiting = word in takes_value

    def error(self, message: str) -> NoReturn:
        """Turn argparse's own complaint into a usage error."""
        raise UsageError(message, command=self.prog)


def parse_duration(text: str) -> timedelta:
    """Read a duration such as ``30s``, ``2m``, ``1h30m`` or ``500ms``; a bare number counts seconds.

    Raises:
        argparse.ArgumentTypeError: it is none.
    """
    try:
        return to_timedelta(duration(text))
    except InvalidDurationError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def evaluate(expression: str, names: Mapping[str, object], option: str, command: str) -> Any:
    """Evaluate an option's Python expression with the notebook's names.

    Raises:
        UsageError: it is no Python expression, or fails; says how to write a string.
    """
    try:
        return eval(expression, {**names})  # noqa: S307  (the author's own expression)
    except SyntaxError as error:
        hint = "A value is a Python expression; quote the whole of it when it has blanks or quotes, for example \"'some text'\"."
        raise UsageError(f"{option} {expression}: {error.msg}", command=command, hint=hint) from None
    except NameError as error:
        close = nearest(error.name or "", names)
        hint = f"Did you mean {close!r}?" if close else f"For the text itself write {option} \"'{expression}'\"."
        raise UsageError(f"{option} {expression}: {error}", command=command, hint=hint) from None
    except Exception as error:  # whatever the author's expression raises
        raise UsageError(f"{option} {expression}: {type(error).__name__}: {error}", command=command) from error


def parse_retry(text: str, names: Mapping[str, object], command: str) -> RetryPolicy:
    """Read a retry policy: ``maximum_attempts=3, initial_interval=1s``, or a Python expression for a dict or a `RetryPolicy`.

    Raises:
        UsageError: an unknown field (names the nearest), or a value of the wrong kind.
    """
    settings = _retry_settings(text, command)
    if settings is None:
        value = evaluate(text, names, "--retry", command)
        if isinstance(value, RetryPolicy):
            return value
        if not isinstance(value, Mapping):
            kind = type(value).__name__
            hint = 'Write for example --retry "maximum_attempts=3, initial_interval=1s".'
            raise UsageError(f"--retry {text}: a {kind} is no retry policy", command=command, hint=hint)
        settings = {str(key): item for key, item in cast("Mapping[object, Any]", value).items()}
    known = {one.name for one in fields(RetryPolicy)}
    for key in settings:
        if key not in known:
            close = nearest(key, known)
            hint = f"Did you mean {close}?" if close else f"Known: {', '.join(sorted(known))}."
            raise UsageError(f"--retry has no {key!r}", command=command, hint=hint)
    try:
        return RetryPolicy(**{key: _retry_value(key, item, command) for key, item in settings.items()})
    except (TypeError, ValueError) as error:
        raise UsageError(f"--retry {text}: {error}", command=command) from None


def _retry_settings(text: str, command: str) -> dict[str, Any] | None:
    if not re.match(r"\s*\w+\s*=[^=]", text):
        return None
    settings: dict[str, Any] = {}
    for part in re.split(r",\s*(?=\w+\s*=)", text.strip().rstrip(",")):
        key, _, value = part.partition("=")
        name, value = key.strip(), value.strip()
        if name in _RETRY_DURATIONS:
            settings[name] = value.strip("'\"")
            continue
        try:
            settings[name] = ast.literal_eval(value)
        except (SyntaxError, ValueError):
            hint = 'Write for example --retry "maximum_attempts=3, initial_interval=1s".'
            raise UsageError(f"--retry {name}={value}: not a number or a literal", command=command, hint=hint) from None
    return settings


def _retry_value(key: str, value: Any, command: str) -> Any:
    if key not in _RETRY_DURATIONS or value is None or isinstance(value, timedelta):
        return value
    try:
        return parse_duration(str(value))
    except argparse.ArgumentTypeError as error:
        raise UsageError(f"--retry {key}: {error}", command=command) from None
