"""Opening a database file: who owns it, where it lies by default, and what DuckDB's errors mean.

A DuckDB file belongs to one process. Its lock names the other process by number only, so the owner leaves a small file
``<database>.owner.json`` beside it that says what it is. That file is a hint, never a lock: it counts only while its number
is the one that holds DuckDB's lock, so one left behind by a killed process does no harm.
"""

from __future__ import annotations

import contextlib
import os
import re
import uuid
from pathlib import Path

import duckdb
import msgspec

from flowkernel.model.errors import DatabaseCorrupt, DatabaseInUse, DatabaseReadOnly, StoreError, WriteFailed
from flowkernel.model.ids import Instant

__all__ = ["MEMORY", "Owner", "connect", "make_database_folder", "owner_file", "read_owner", "release", "store_error"]

MEMORY = ":memory:"
"""A database without a file; gone when it is closed."""

_PID = re.compile(r"\(PID (\d+)\)")


class Owner(msgspec.Struct, frozen=True):
    """Who has a database open.

    Attributes:
        pid: its process.
        owner: what it is, for people: a notebook or a program.
        since: when it opened the database.
    """

    pid: int
    owner: str
    since: Instant


def make_database_folder(folder: Path) -> Path:
    """Make ``folder/.flowkernel``, where databases go by default, and keep it out of git.

    Raises:
        DatabaseReadOnly: it cannot be made.
    """
    home = folder / ".flowkernel"
    ignore = home / ".gitignore"
    try:
        home.mkdir(parents=True, exist_ok=True)
        if not ignore.exists():
            ignore.write_text("*\n", encoding="utf-8")
    except OSError as error:
        raise DatabaseReadOnly(home) from error
    return home


def owner_file(path: str | Path) -> Path:
    """Where the owner of a database introduces itself."""
    return Path(f"{path}.owner.json")


def read_owner(path: str | Path) -> Owner | None:
    """What the owner's file says, true or stale; None without a readable one."""
    try:
        return msgspec.json.decode(owner_file(path).read_bytes(), type=Owner)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return None


def connect(path: str | Path, owner: str, now: Instant) -> duckdb.DuckDBPyConnection:
    """Open or make a database file and leave the owner's name beside it.

    Raises:
        DatabaseInUse: another process, or this one, has it open.
        DatabaseReadOnly: file or folder cannot be written.
        DatabaseCorrupt: no DuckDB database, or a damaged one.
        StoreError: there is no such folder, the path is a folder, or a newer DuckDB wrote it.
    """
    # A configuration of its own makes DuckDB refuse a second opening within this process, which it would otherwise share.
    config: dict[str, str | bool | int | float | list[str]] = {
        "custom_user_agent": f"flowkernel-{uuid.uuid4().hex}",
        "autoinstall_known_extensions": False,
    }
    if path == MEMORY:
        return duckdb.connect(MEMORY, config=config)
    _check_place(path)
    try:
        connection = duckdb.connect(str(path), config=config)
    except (duckdb.Error, RuntimeError, ValueError) as error:
        raise store_error(path, error) from error
    try:
        # Also the proof that the folder can be written, which DuckDB would find out only at its first commit.
        owner_file(path).write_bytes(msgspec.json.encode(Owner(os.getpid(), owner, now)))
    except OSError as error:
        connection.close()
        raise DatabaseReadOnly(path) from error
    return connection


def _check_place(path: str | Path) -> None:
    place = Path(path)
    try:
        if place.is_dir():
            raise StoreError(path, "is a folder", "Give the path of a file in it, for example history.duckdb.")
        if not place.parent.is_dir():
            raise StoreError(path, f"there is no folder {place.parent}", "Make the folder, or choose another file.")
    except OSError as error:  # not even allowed to look
        raise DatabaseReadOnly(path) from error


def release(path: str | Path) -> None:
    """Take the owner's name away again."""
    if path != MEMORY:
        with contextlib.suppress(OSError):
            owner_file(path).unlink()


def store_error(path: str | Path, error: Exception) -> StoreError:
    """What an error of DuckDB's means for the one who opens or reads a file."""
    text = str(error).splitlines()[0] if str(error) else type(error).__name__
    if "different configuration" in text:
        return _in_use(path, os.getpid())
    if "Could not set lock" in text or "being used by another process" in text:
        found = _PID.search(text)
        return _in_use(path, int(found[1]) if found else None)
    if any(sign in text for sign in ("Permission denied", "Read-only file system", "Cannot open file", "read-only mode")):
        return DatabaseReadOnly(path)
    if "No space left" in text or "File too large" in text or "Could not write" in text:
        return WriteFailed(path, text)
    if "newer" in text and "version" in text:
        return StoreError(path, f"was written by a newer DuckDB ({text})", "Upgrade the duckdb package, or choose another file.")
    return DatabaseCorrupt(path, text)


def _in_use(path: str | Path, pid: int | None) -> DatabaseInUse:
    owner = read_owner(path)
    if owner is None or (pid is not None and owner.pid != pid):
        return DatabaseInUse(path, pid, None)
    return DatabaseInUse(path, owner.pid, owner.owner)
