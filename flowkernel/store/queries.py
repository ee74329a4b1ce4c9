"""Loads the queries of `queries.sql` by name."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources

__all__ = ["load_queries", "parse_queries", "read_sql"]

_MARK = "-- name:"


def read_sql(name: str) -> str:
    """Text of an SQL file of this package, for example ``views.sql``."""
    return resources.files("flowkernel.store").joinpath(name).read_text(encoding="utf-8")


def parse_queries(text: str) -> Mapping[str, str]:
    """Split a file into its named queries.

    Raises:
        ValueError: two queries have one name, or one has no description.
    """
    queries: dict[str, str] = {}
    for block in text.split(f"\n{_MARK}")[1:]:
        title, _, body = block.partition("\n")
        name = title.strip()
        if name in queries:
            raise ValueError(f"two queries are named {name!r}")
        if not body.startswith("-- "):
            raise ValueError(f"query {name!r} has no comment that says what it is for")
        sql = "\n".join(line for line in body.splitlines() if not line.startswith("--")).strip()
        queries[name] = sql.removesuffix(";")
    return queries


def load_queries() -> Mapping[str, str]:
    """The queries of ``queries.sql``, by name."""
    return parse_queries(read_sql("queries.sql"))
