"""Migrations and queries: numbered, complete, described."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest

from flowkernel.store import schema
from flowkernel.store.duckdb import open_duckdb
from flowkernel.store.queries import load_queries, parse_queries, read_sql
from flowkernel.store.schema import Migration, load_migrations, prepare
from flowkernel.testing.run_script import RunScript

LATER = Migration(2, "later", "alter table store.definitions add column note varchar;\ncreate table store.extra (x integer);")


def catalog(connection: duckdb.DuckDBPyConnection) -> list[tuple[object, ...]]:
    """All that a schema consists of."""
    columns = "select schema_name, table_name, column_index, column_name, data_type, is_nullable, comment from duckdb_columns()"
    views = "select schema_name, view_name, 0, '', sql, false, comment from duckdb_views()"
    macros = "select schema_name, function_name, 0, '', macro_definition, false, comment from duckdb_functions()"
    query = " union all ".join(f"{part} where not internal" for part in (columns, views, macros)) + " order by all"
    return connection.execute(query).fetchall()


def test_versions_count_without_gaps() -> None:
    assert [migration.version for migration in load_migrations()] == list(range(1, len(load_migrations()) + 1))


@pytest.mark.parametrize("migrations", [load_migrations(), (*load_migrations(), LATER)])
def test_a_fresh_schema_equals_all_migrations_one_by_one(migrations: tuple[Migration, ...]) -> None:
    at_once, one_by_one = duckdb.connect(), duckdb.connect()
    prepare(at_once, "x", 0, migrations)
    for count in range(1, len(migrations) + 1):
        prepare(one_by_one, "x", 0, migrations[:count])
    assert catalog(at_once) == catalog(one_by_one)
    assert ("store", "entries") in {row[:2] for row in catalog(at_once)}
    recorded = "select version, name, applied from store.schema_version order by version"
    assert one_by_one.execute(recorded).fetchall() == [(each.version, each.name, 0) for each in migrations]
    assert at_once.execute(recorded).fetchall() == one_by_one.execute(recorded).fetchall()
    at_once.close()
    one_by_one.close()


def test_an_older_file_is_brought_up_to_date_with_its_histories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = RunScript()
    store = open_duckdb(tmp_path / "history.duckdb", now=1)
    store.commit([run.start()])
    store.close()
    monkeypatch.setattr(schema, "load_migrations", lambda: (*load_migrations(), LATER))
    store = open_duckdb(tmp_path / "history.duckdb", now=2)
    assert store.history(run.ref.run_id) == tuple(run.events)
    assert store.cursor().execute("select version, applied from store.schema_version order by all").fetchall() == [(1, 1), (2, 2)]
    assert store.cursor().execute("select count(*) from store.extra").fetchone() == (0,)
    store.close()


def test_a_migration_that_fails_changes_nothing() -> None:
    connection = duckdb.connect()
    prepare(connection, "x", 0)
    before = catalog(connection)
    broken = Migration(2, "broken", "create table store.extra (x integer); select * from nowhere;")
    with pytest.raises(duckdb.CatalogException):
        prepare(connection, "x", 0, (*load_migrations(), broken))
    assert catalog(connection) == before
    assert connection.execute("select max(version) from store.schema_version").fetchone() == (1,)
    connection.close()


def test_views_follow_their_file_without_a_migration() -> None:
    connection = duckdb.connect()
    prepare(connection, "x", 0, views="create or replace view main.executions as select 1 as old")
    assert connection.execute("select old from executions").fetchall() == [(1,)]
    prepare(connection, "x", 0)
    assert connection.execute("select workflow_id from executions").fetchall() == []
    before = connection.execute("select view_oid from duckdb_views() where view_name = 'executions'").fetchall()
    prepare(connection, "x", 0)
    after = connection.execute("select view_oid from duckdb_views() where view_name = 'executions'").fetchall()
    assert after == before, "views that are up to date are left alone"
    connection.close()


def test_tables_have_no_indexes() -> None:
    connection = duckdb.connect()
    prepare(connection, "x", 0)
    assert connection.execute("select * from duckdb_indexes()").fetchall() == []
    assert connection.execute("select * from duckdb_constraints() where constraint_type <> 'NOT NULL'").fetchall() == []
    connection.close()


def test_every_query_is_used_and_none_asks_the_clock() -> None:
    source = Path(schema.__file__).with_name("duckdb.py").read_text()
    for name in load_queries():
        assert f'"{name}"' in source, name
    for text in (read_sql("queries.sql"), read_sql("views.sql"), *(migration.sql for migration in load_migrations())):
        code = "\n".join(line.partition("--")[0] for line in text.lower().splitlines())
        assert not {"now()", "current_timestamp", "current_date", "get_current_timestamp"} & set(code.replace(",", " ").split())


def test_queries_are_named_once_and_described() -> None:
    assert parse_queries("\n-- name: one\n-- What for.\nselect 1\n  + 1;\n\n-- name: two\n-- Why.\n-- Really.\nselect 2") == {
        "one": "select 1\n  + 1",
        "two": "select 2",
    }
    with pytest.raises(ValueError, match="two queries are named 'one'"):
        parse_queries("\n-- name: one\n-- A.\nselect 1;\n-- name: one\n-- B.\nselect 2;")
    with pytest.raises(ValueError, match="query 'one' has no comment"):
        parse_queries("\n-- name: one\nselect 1;")
