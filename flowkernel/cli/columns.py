"""Rows of text in columns, for terminals, logs and pipes alike: nothing cut off, no trailing blanks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

__all__ = ["columns"]


def columns(heading: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Align rows under a heading."""
    table = [tuple(heading), *map(tuple, rows)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table)
