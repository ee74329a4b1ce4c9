"""Opening a database: who may, what is said when it fails, and what is left behind."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pytest

from flowkernel.model.errors import DatabaseCorrupt, DatabaseInUse, DatabaseReadOnly, DatabaseTooNew, StoreError
from flowkernel.model.events import WorkflowExecutionSignaled
from flowkernel.model.ids import RunId
from flowkernel.store.duckdb import open_duckdb
from flowkernel.store.opening import make_database_folder, owner_file, read_owner
from flowkernel.testing.run_script import RunScript, json_payload

HOLD = """
import sys
from flowkernel.store.duckdb import open_duckdb
store = open_duckdb(sys.argv[1], owner="weather.ipynb")
print("open", flush=True)
sys.stdin.read()
store.close()
"""

HOLD_RAW = """
import sys, duckdb
connection = duckdb.connect(sys.argv[1])
print("open", flush=True)
sys.stdin.read()
"""


@contextmanager
def held_open(path: Path, program: str = HOLD) -> Iterator[subprocess.Popen[str]]:
    """Another process that has the database open; it closes it when its input ends."""
    other = subprocess.Popen(
        [sys.executable, "-c", program, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert other.stdin is not None
    assert other.stdout is not None
    try:
        assert other.stdout.readline() == "open\n"
        yield other
    finally:
        other.stdin.close()
        other.wait()
        other.stdout.close()


@contextmanager
def without_privileges() -> Iterator[None]:
    """Root ignores permissions, so be somebody else for a while."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def public_folder() -> Iterator[Path]:
    """A folder that everybody may use; pytest's own belong to one user."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o777)
        yield folder
        folder.chmod(0o777)


def test_a_second_process_hears_who_owns_the_file(tmp_path: Path) -> None:
    path = tmp_path / "history.duckdb"
    with held_open(path) as other, pytest.raises(DatabaseInUse) as raised:
        open_duckdb(path)
    assert str(raised.value) == (
        f"{path}: in use by process {other.pid} (weather.ipynb). A DuckDB file belongs to one process at a time: "
        "shut that kernel or program down, or choose another file with %config FlowKernel.database or FLOWKERNEL_DATABASE."
    )
    assert (raised.value.pid, raised.value.owner) == (other.pid, "weather.ipynb")
    assert not owner_file(path).exists(), "closing takes the owner's name away"
    open_duckdb(path).close()


def test_a_killed_owner_is_no_obstacle(tmp_path: Path) -> None:
    path = tmp_path / "history.duckdb"
    with held_open(path) as other:
        os.killpg(other.pid, signal.SIGKILL)
        other.wait()
    stale = read_owner(path)
    assert stale is not None
    assert stale.pid == other.pid
    store = open_duckdb(path, owner="mine.ipynb", now=5)
    assert json.loads(owner_file(path).read_text()) == {"pid": os.getpid(), "owner": "mine.ipynb", "since": 5}
    store.close()
    assert not owner_file(path).exists()


@pytest.mark.parametrize("left", ['{"pid": 1, "owner": "old.ipynb", "since": 0}', "no JSON", "", None])
def test_a_stale_name_is_not_believed(tmp_path: Path, left: str | None) -> None:
    path = tmp_path / "history.duckdb"
    if left is not None:
        owner_file(path).write_text(left)
    with held_open(path, HOLD_RAW) as other, pytest.raises(DatabaseInUse, match=rf"in use by process {other.pid}\. ") as raised:
        open_duckdb(path)
    assert raised.value.owner is None


def test_the_same_process_cannot_open_it_twice(tmp_path: Path) -> None:
    path = tmp_path / "history.duckdb"
    store = open_duckdb(path, owner="mine.ipynb")
    with pytest.raises(DatabaseInUse, match=rf"in use by process {os.getpid()} \(mine.ipynb\)"):
        open_duckdb(path)
    store.commit([RunScript().start()])
    store.close()
    open_duckdb(path).close()


def test_a_folder_that_cannot_be_written(public_folder: Path) -> None:
    path = public_folder / "history.duckdb"
    public_folder.chmod(0o555)
    with without_privileges(), pytest.raises(DatabaseReadOnly) as raised:
        open_duckdb(path)
    assert str(raised.value) == (f"{path}: cannot be written. Make the file and its folder writable, or choose another file.")
    assert list(public_folder.iterdir()) == []


def test_a_database_in_a_folder_that_cannot_be_written(public_folder: Path) -> None:
    path = public_folder / "history.duckdb"
    open_duckdb(path).close()
    path.chmod(0o666)
    public_folder.chmod(0o555)
    with without_privileges(), pytest.raises(DatabaseReadOnly, match="cannot be written"):
        open_duckdb(path)
    public_folder.chmod(0o777)
    open_duckdb(path).close()


def test_a_file_that_cannot_be_written(public_folder: Path) -> None:
    path = public_folder / "history.duckdb"
    open_duckdb(path).close()
    path.chmod(0o444)
    with without_privileges(), pytest.raises(DatabaseReadOnly, match="cannot be written"):
        open_duckdb(path)
    assert not owner_file(path).exists()


def test_a_folder_that_cannot_be_entered(public_folder: Path) -> None:
    (public_folder / "secret").mkdir(0o700)
    (public_folder / "secret").chmod(0)
    with without_privileges(), pytest.raises(DatabaseReadOnly, match="cannot be written"):
        open_duckdb(public_folder / "secret" / "history.duckdb")


def test_a_folder_in_its_place(tmp_path: Path) -> None:
    with pytest.raises(StoreError) as raised:
        open_duckdb(tmp_path)
    assert str(raised.value) == f"{tmp_path}: is a folder. Give the path of a file in it, for example history.duckdb."


def test_no_such_folder(tmp_path: Path) -> None:
    path = tmp_path / "none" / "history.duckdb"
    with pytest.raises(StoreError) as raised:
        open_duckdb(path)
    assert str(raised.value) == f"{path}: there is no folder {tmp_path / 'none'}. Make the folder, or choose another file."


def test_a_file_of_another_kind(tmp_path: Path) -> None:
    path = tmp_path / "history.duckdb"
    path.write_text("a,b\n1,2\n" * 2000)
    with pytest.raises(DatabaseCorrupt) as raised:
        open_duckdb(path)
    assert re.fullmatch(
        re.escape(f"{path}: is not a readable flowkernel database (")
        + r".*not a valid DuckDB database file.*"
        + re.escape("). Restore it from a copy, or move it away and a new one is made."),
        str(raised.value),
    )
    assert path.read_text() == "a,b\n1,2\n" * 2000, "it is left as it was"
    assert not owner_file(path).exists()


def filled(path: Path) -> None:
    store = open_duckdb(path)
    run = RunScript()
    store.commit([run.start()])
    for _ in range(20):
        store.commit([run.add(WorkflowExecutionSignaled("s", (json_payload(os.urandom(30_000).hex().encode()),)))])
    store.close()


def test_a_truncated_file(tmp_path: Path) -> None:
    path = tmp_path / "history.duckdb"
    filled(path)
    path.write_bytes(path.read_bytes()[:9000])
    with pytest.raises(DatabaseCorrupt, match="is not a readable flowkernel database"):
        open_duckdb(path)


def test_damage_in_the_middle_shows_when_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "history.duckdb"
    filled(path)
    content = bytearray(path.read_bytes())
    for at in range(3 * 4096, len(content), 1000):
        content[at] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(DatabaseCorrupt, match="Corrupt database file"):
        open_duckdb(path).history(RunId("order-1-run"))


def test_a_database_of_somebody_else(tmp_path: Path) -> None:
    path = tmp_path / "sales.duckdb"
    with duckdb.connect(str(path)) as connection:
        connection.execute("create table events (day date)")
    with pytest.raises(StoreError) as raised:
        open_duckdb(path)
    assert str(raised.value) == (
        f"{path}: is a DuckDB database with tables of its own (main.events). flowkernel needs a file to itself: choose another "
        "with %config FlowKernel.database or FLOWKERNEL_DATABASE."
    )
    with duckdb.connect(str(path)) as connection:
        assert connection.execute("select schema_name, table_name from duckdb_tables()").fetchall() == [("main", "events")]


def test_a_database_of_a_newer_version(tmp_path: Path) -> None:
    path = tmp_path / "history.duckdb"
    open_duckdb(path).close()
    with duckdb.connect(str(path)) as connection:
        connection.execute("insert into store.schema_version values (99, 'later', 0)")
    with pytest.raises(DatabaseTooNew) as raised:
        open_duckdb(path)
    assert str(raised.value) == (
        f"{path}: has schema version 99, this flowkernel knows up to 1. Upgrade flowkernel, or choose another file."
    )
    assert not owner_file(path).exists()


def test_the_default_folder_keeps_itself_out_of_git(tmp_path: Path) -> None:
    home = make_database_folder(tmp_path)
    assert home == tmp_path / ".flowkernel"
    assert (home / ".gitignore").read_text() == "*\n"
    (home / ".gitignore").write_text("mine\n")
    assert make_database_folder(tmp_path) == home
    assert (home / ".gitignore").read_text() == "mine\n"


def test_the_default_folder_where_nothing_can_be_made(public_folder: Path) -> None:
    public_folder.chmod(0o555)
    with without_privileges(), pytest.raises(DatabaseReadOnly, match=r"\.flowkernel: cannot be written"):
        make_database_folder(public_folder)


def test_a_path_that_is_relative_still_holds_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    store = open_duckdb("history.duckdb")
    monkeypatch.chdir(tmp_path / "elsewhere")
    store.commit([RunScript().start()])
    store.close()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["elsewhere", "history.duckdb"]


def test_memory_needs_no_place() -> None:
    first, second = open_duckdb(":memory:"), open_duckdb()
    first.commit([RunScript().start()])
    assert second.find_run("default", "order-1") is None
    first.close()
    second.close()


FORK = """
import os, sys
from flowkernel.model.errors import StoreError
from flowkernel.store.duckdb import open_duckdb
from flowkernel.testing.run_script import RunScript
store = open_duckdb(sys.argv[1])
run = RunScript()
store.commit([run.start()])
cursor = store.cursor()
child = os.fork()
if child == 0:
    for use in (lambda: store.commit([run.complete()]), lambda: store.history(run.ref.run_id), store.cursor):
        try:
            use()
        except StoreError as error:
            print(error, flush=True)
    store.close()
    sys.exit(0)
print("child ended with", os.waitpid(child, 0)[1], flush=True)
store.commit([run.complete()])
print(len(store.history(run.ref.run_id)), flush=True)
store.close()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_child_is_refused_and_harms_nothing(tmp_path: Path) -> None:
    path = tmp_path / "history.duckdb"
    done = subprocess.run([sys.executable, "-c", FORK, str(path)], capture_output=True, text=True, check=True)
    *refusals, ended, events = done.stdout.splitlines()
    assert len(refusals) == 3
    for refusal in refusals:
        assert re.sub(r"process \d+", "process N", refusal) == (
            f"{path}: was opened by process N and cannot be used in the process forked from it. Start the process with the "
            "'spawn' method (multiprocessing.get_context('spawn')), or as a program of its own."
        )
    assert ended == "child ended with 0"
    assert events == "3"
