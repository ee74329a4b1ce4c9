from __future__ import annotations

import sys
from pathlib import Path

import pytest

from flowkernel import activity, workflow
from flowkernel.notebook.registration import Registry, activities_in, is_activity, workflow_in
from flowkernel.notebook.settings import NotebookName, database_path, notebook_name, prepare_folder


@pytest.mark.parametrize(
    ("names", "environment", "expected"),
    [
        ({"__session__": "/a/b/pipe.ipynb"}, {}, ("/a/b/pipe.ipynb", "pipe")),
        ({}, {"JPY_SESSION_NAME": "/a/b/pipe.ipynb"}, ("/a/b/pipe.ipynb", "pipe")),
        ({"__vsc_ipynb_file__": "/v/code.ipynb"}, {"JPY_SESSION_NAME": "/v/x.ipynb"}, ("/v/code.ipynb", "code")),
        ({"__session__": "console-1"}, {}, (None, "notebook")),
        ({}, {}, (None, "notebook")),
        ({"__session__": 3}, {}, (None, "notebook")),
    ],
)
def test_the_notebook_s_name(names: dict, environment: dict, expected: tuple) -> None:
    found = notebook_name(names, environment)
    assert (str(found.path) if found.path else None, found.stem) == expected


def test_where_the_database_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notebook = NotebookName(tmp_path / "pipe.ipynb", "pipe")
    assert database_path("mine.duckdb", notebook, {"FLOWKERNEL_DATABASE": "env.duckdb"}) == "mine.duckdb"
    assert database_path("", notebook, {"FLOWKERNEL_DATABASE": ":memory:"}) == ":memory:"
    assert database_path("", notebook, {}) == str(tmp_path / ".flowkernel" / "pipe.duckdb")
    monkeypatch.setenv("HOME", "/home/me")
    assert database_path("~/x.duckdb", notebook, {}) == "/home/me/x.duckdb"
    # A path that is the server's, not this machine's.
    assert database_path("", NotebookName(Path("/no/such/pipe.ipynb"), "pipe"), {}) == ".flowkernel/pipe.duckdb"


def test_the_folder_ignores_itself_in_git(tmp_path: Path) -> None:
    prepare_folder(str(tmp_path / ".flowkernel" / "pipe.duckdb"))
    assert (tmp_path / ".flowkernel" / ".gitignore").read_text() == "*\n"
    prepare_folder(str(tmp_path / "elsewhere" / "pipe.duckdb"))
    assert not (tmp_path / "elsewhere").exists()


@activity.defn
def load(name: str) -> str:
    return name


class Shop:
    @activity.defn
    def sell(self, item: str) -> str:
        return item


@workflow.defn
class Order:
    @workflow.run
    async def run(self) -> None: ...


class Inherited(Order):
    pass


class AnswersToEverything:
    def __getattr__(self, name: str) -> object:
        return self

    def __call__(self) -> object:
        return self


def test_what_is_an_activity() -> None:
    assert is_activity(load)
    assert is_activity(Shop().sell)
    assert not any(is_activity(value) for value in (1, "x", [], len, Shop, Shop(), Order, AnswersToEverything(), sys))


def test_what_is_a_workflow() -> None:
    assert workflow_in(Order) is not None
    assert not any(workflow_in(value) for value in (Inherited, Order(), load, AnswersToEverything(), 3))


def test_activities_are_found_in_objects_and_modules() -> None:
    shop = Shop()
    assert [fn("tea") for fn in activities_in(shop)] == ["tea"]
    assert load in list(activities_in(sys.modules[__name__]))
    assert list(activities_in(3)) == []


def test_the_registry_tells_of_what_is_new_or_changed() -> None:
    registry = Registry()
    workflows: list[str | None] = []
    activities: list[object] = []
    registry.scan({"load": load})
    leave = registry.follow(lambda definition: workflows.append(definition.name), activities.append)
    assert activities == [load]
    names = {"load": load, "Order": Order, "n": 3, "_hidden": Shop()}
    registry.scan(names)
    registry.scan(names)
    assert (workflows, activities) == (["Order"], [load])

    @activity.defn(name="load")
    def other(name: str) -> str:
        return name

    registry.scan({**names, "load": other})
    assert activities == [load, other]
    leave()
    registry.scan({**names, "load": load})
    assert activities == [load, other]
    assert registry.activities == {"load": load}
