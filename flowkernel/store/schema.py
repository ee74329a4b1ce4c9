"""Brings a database to the present schema: numbered migrations for tables, `views.sql` for what people query."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

import duckdb
import msgspec

from flowkernel.model.errors import DatabaseTooNew, StoreError
from flowkernel.model.ids import Instant
from flowkernel.store.queries import read_sql

__all__ = ["Migration", "load_migrations", "prepare"]

_FILE_NAME = re.compile(r"(\d{4})_(\w+)\.sql")


class Migration(msgspec.Struct, frozen=True):
    """One step of the schema. ``version`` counts from 1 without gaps."""

    version: int
    name: str
    sql: str


def load_migrations() -> tuple[Migration, ...]:
    """All migrations of this version of flowkernel, in order."""
    found: list[Migration] = []
    for file in resources.files("flowkernel.store").joinpath("migrations").iterdir():
        match = _FILE_NAME.fullmatch(file.name)
        if match:
            found.append(Migration(int(match[1]), match[2], file.read_text(encoding="utf-8")))
    return tuple(sorted(found, key=lambda migration: migration.version))


def prepare(
    connection: duckdb.DuckDBPyConnection,
    path: str | Path,
    now: Instant,
    migrations: Sequence[Migration] | None = None,
    views: str | None = None,
) -> None:
    """Apply what is missing, in one transaction.

    Args:
        connection: to the database, outside a transaction.
        path: for error messages.
        now: recorded with each migration.
        migrations: instead of those of this version, for tests.
        views: instead of ``views.sql``, for tests.

    Raises:
        DatabaseTooNew: a newer flowkernel wrote it. Nothing is changed.
        StoreError: it holds somebody else's tables. Nothing is changed.
        duckdb.Error: a step failed. Nothing is changed.
    """
    migrations = load_migrations() if migrations is None else migrations
    views = read_sql("views.sql") if views is None else views
    version = _version(connection, path)
    known = migrations[-1].version
    if version > known:
        raise DatabaseTooNew(path, version, known)
    digest = hashlib.sha256(views.encode()).hexdigest()
    if version == known and _views_digest(connection) == digest:
        return
    connection.execute("begin")
    try:
        for migration in migrations:
            if migration.version > version:
                connection.execute(migration.sql)
                connection.execute(
                    "insert into store.schema_version values ($1, $2, $3)", [migration.version, migration.name, now]
                )
        connection.execute(views)
        connection.execute("delete from store.settings where name = 'views'")
        connection.execute("insert into store.settings values ('views', $1)", [digest])
        connection.execute("commit")
    except BaseException:
        connection.execute("rollback")
        raise


def _version(connection: duckdb.DuckDBPyConnection, path: str | Path) -> int:
    tables = connection.execute("select schema_name, table_name from duckdb_tables() where not internal").fetchall()
    if ("store", "schema_version") in tables:
        [(version,)] = connection.execute("select coalesce(max(version), 0) from store.schema_version").fetchall()
        return int(version)
    if tables:
        raise StoreError(
            path,
            f"is a DuckDB database with tables of its own ({tables[0][0]}.{tables[0][1]})",
            "flowkernel needs a file to itself: choose another with %config FlowKernel.database or FLOWKERNEL_DATABASE.",
        )
    return 0


def _views_digest(connection: duckdb.DuckDBPyConnection) -> str | None:
    # All rows are fetched: DuckDB keeps a connection with an unread result from committing.
    rows = connection.execute("select value from store.settings where name = 'views'").fetchall()
    return str(rows[0][0]) if rows else None
