"""What a cell is called, and where in it something went wrong."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

__all__ = ["cell_title", "describe_error", "is_run"]

_TITLE_LENGTH = 60
_FRAMES = 6
_SOURCE_AROUND = 4
_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_FRAME = re.compile(r"^(?:Cell In\s?\[(?P<count>\d+)\], line (?P<line>\d+)|File (?P<file>.+?):(?P<at>\d+))(?P<rest>.*)")
_CELL_LINE = re.compile(r"\bcell(?: In\s?\[\d+\],)? line (\d+)", re.IGNORECASE)


def is_run(cell: Any) -> bool:
    """Whether a cell is run: a code cell with text, not tagged ``skip-execution``."""
    return cell.cell_type == "code" and bool(cell.source.strip()) and "skip-execution" not in cell.metadata.get("tags", ())


def cell_title(cells: Sequence[Any], index: int) -> str:
    """Name a cell by its first comment, its magic, the heading right above it, or its first line."""
    lines = [line.strip() for line in cells[index].source.splitlines() if line.strip()]
    first = lines[0]
    if first.startswith("#") and first.strip("#!% "):
        return _short(first.strip("#!% "))
    if first.startswith("%%"):
        words = first.split()
        return _short(" ".join(words[:2] if len(words) > 1 and not words[1].startswith("-") else words[:1]))
    if index > 0 and cells[index - 1].cell_type == "markdown":
        headings = [line.strip("# ") for line in cells[index - 1].source.splitlines() if line.startswith("#")]
        if headings:
            return _short(headings[-1])
    return _short(first)


def describe_error(cell: Any, ename: str, evalue: str, traceback: Sequence[str]) -> str:
    """Show the failing cell with an arrow at its line, then the way to the error, then the error.

    Args:
        cell: the cell, with the execution count that the kernel gave it.
        ename: class of the error.
        evalue: its message.
        traceback: the kernel's traceback, one string per frame, colours and all.
    """
    entries = [_ANSI.sub("", entry).strip("\n") for entry in traceback]
    line, frames = _locate(cell, "\n".join(entries))
    parts = [_source(cell.source, line)]
    if len(frames) > 1:
        parts.append("\n".join(frames[-_FRAMES:]))
    final = entries[-1] if entries and ename in entries[-1] else f"{ename}: {evalue}"
    parts.append(final.strip())
    return "\n\n".join(parts)


def _locate(cell: Any, text: str) -> tuple[int | None, list[str]]:
    """Find the last line of this cell that the traceback names, and one line of text per frame."""
    found: int | None = None
    frames: list[str] = []
    for entry in text.splitlines():
        match = _FRAME.match(entry.strip())
        if match is None:
            continue
        if match["count"] is None:
            frames.append(f"  {match['file']}:{match['at']}{match['rest']}")
            continue
        frames.append(f"  cell [{match['count']}], line {match['line']}")
        if int(match["count"]) == cell.execution_count:
            found = int(match["line"])
    if found is None:
        own = _CELL_LINE.search(text)
        found = int(own[1]) if own and not frames else None
    return found, frames


def _source(source: str, line: int | None) -> str:
    lines = source.splitlines()
    if line is None or not 1 <= line <= len(lines):
        shown, rest = lines[: 2 * _SOURCE_AROUND], len(lines) - 2 * _SOURCE_AROUND
        text = [f"   {number:>4}  {content}" for number, content in enumerate(shown, 1)]
        return "\n".join([*text, f"         … {rest} more lines"] if rest > 0 else text)
    begin, end = max(1, line - _SOURCE_AROUND), min(len(lines), line + _SOURCE_AROUND)
    return "\n".join(f"{'->' if number == line else '  '} {number:>4}  {lines[number - 1]}" for number in range(begin, end + 1))


def _short(text: str) -> str:
    return text if len(text) <= _TITLE_LENGTH else text[: _TITLE_LENGTH - 1].rstrip() + "…"
