from __future__ import annotations

import ast
import asyncio
import datetime as dt
import enum
import linecache
import re
import traceback
from dataclasses import dataclass
from typing import Any

import pytest

from flowkernel.notebook.cell import CellProgram, CellSource, capture, compile_cell, is_class_cell, parse_cell, type_hint
from flowkernel.notebook.errors import CellNameError, CellSyntaxError


def program(body: str, **place: Any) -> CellProgram:
    source = CellSource(body, **place)
    return compile_cell(source, parse_cell(source))


def run(body: str, **notebook: Any) -> Any:
    compiled = program(body)
    taken = capture(compiled, notebook)
    return asyncio.run(compiled.run(taken.references, taken.data))


async def double(n: int) -> int:
    return 2 * n


@pytest.mark.parametrize(
    ("body", "result"),
    [
        ("1 + 1", 2),
        ("x = 3\nx * 2\n", 6),
        ("x = 3", None),
        ("", None),
        ("# only a comment", None),
        ("await double(n)", 10),
        ("[await double(i) for i in range(n)]", [0, 2, 4, 6, 8]),
        ("n += 1\nn", 6),
        ("def f():\n    return later\nlater = n\nf()", 5),
        ("count = 0\ndef bump():\n    global count\n    count += 1\nbump(); bump()\ncount", 2),
        ("from math import *\nfloor(pi)", 3),
        ("class A:\n    x = n\nA.x", 5),
        ("if n > 3:\n    seen = 'big'\nseen", "big"),
        ("sum(i for i in range(n))", 10),
        ("__name__", "__main__"),
    ],
)
def test_a_body_means_what_it_means_in_a_cell(body: str, result: object) -> None:
    assert run(body, n=5, double=double) == result


def test_each_run_has_a_namespace_of_its_own() -> None:
    compiled = program("n += 1\nn")
    values: dict[str, object] = {"n": 1}
    assert [asyncio.run(compiled.run({}, values)) for _ in range(2)] == [2, 2]
    assert values == {"n": 1}


def test_what_is_captured() -> None:
    class Plain:
        pass

    @dataclass
    class Order:
        id: int

    notebook = {
        "fetch": double, "Order": Order, "re": re, "kinds": int | None, "rows": list[int], "pattern": re.compile("a"),
        "order": Order(1), "n": 3, "plain": Plain(), "unused": 1, "sum": 9,
    }  # fmt: skip
    taken = capture(program("fetch, Order, re, kinds, rows, pattern, plain, order, n, len, sum"), notebook)
    assert set(taken.references) == {"fetch", "Order", "re", "kinds", "rows", "pattern"}
    assert list(taken.data) == ["n", "order", "plain", "sum"]
    assert taken.references["Order"] is Order


def test_a_maybe_bound_name_is_captured_only_if_it_is_there() -> None:
    body = "if flag:\n    x = 1\nx"
    assert capture(program(body), {"flag": True, "x": 2}).data == {"flag": True, "x": 2}
    assert capture(program(body), {"flag": True}).data == {"flag": True}


def test_a_missing_name_is_named_with_its_line_and_the_nearest() -> None:
    with pytest.raises(CellNameError) as caught:
        capture(program("a = 1\nprint(sorce, a)", place="Cell In[3]"), {"source": 1})
    assert isinstance(caught.value, NameError)
    assert str(caught.value) == "name 'sorce' is not defined. Did you mean: 'source'?"
    assert caught.value._render_traceback_() == [
        "  Cell In[3], line 3\n    print(sorce, a)",
        "NameError: name 'sorce' is not defined. Did you mean: 'source'?",
    ]


def test_the_first_missing_name_is_reported() -> None:
    with pytest.raises(CellNameError, match="'first'"):
        capture(program("first\nsecond"), {})


def test_lines_are_the_cell_s_own() -> None:
    lines = ["# %%workflow w", "x = 1", "", "1 / 0"]
    linecache.cache["<cell 7>"] = (0, None, [line + "\n" for line in lines], "<cell 7>")
    with pytest.raises(ZeroDivisionError) as caught:
        asyncio.run(program("x = 1\n\n1 / 0", filename="<cell 7>").run({}, {}))
    last = traceback.extract_tb(caught.value.__traceback__)[-1]
    assert (last.filename, last.lineno, last.line) == ("<cell 7>", 4, "1 / 0")


@pytest.mark.parametrize(
    ("body", "line", "shown", "problem"),
    [
        ("x = 1\ny = = 2", 3, "y = = 2", "invalid syntax"),
        ("def f(:\n    pass", 2, "def f(:", "invalid syntax"),
        ("x = 1\nif x:", 3, "if x:", "expected an indented block after 'if' statement on line 3"),
        ("f(1,\n", 2, "f(1,", "'(' was never closed"),
        ("return 3", 2, "return 3", "'return' outside function. A workflow cell has none: the value of its last expression"),
        ("x = 1\nyield x", 3, "yield x", "'yield' outside function"),
        ("x = 1\nbreak", 3, "break", "'break' outside loop"),
        ("%time f()", 2, "%time f()", "a workflow cell cannot use a magic"),
        ("x = 1\n  !ls -l", 3, "  !ls -l", "a workflow cell cannot use a shell command"),
        ("x = 1\nfiles = !ls", 3, "files = !ls", "a workflow cell cannot use a shell command"),
        ("x = 1\nt = %timeit -o f()", 3, "t = %timeit -o f()", "a workflow cell cannot use a magic"),
        ("x = 1\nprint?", 3, "print?", "a workflow cell cannot use IPython's help"),
        ("%%bash\nls", 2, "%%bash", "a workflow cell cannot use a magic"),
        ("x = '\0'", 2, "x = '\0'", "null bytes"),
    ],
)
def test_a_syntax_error_points_at_the_line_of_the_cell(body: str, line: int, shown: str, problem: str) -> None:
    with pytest.raises(CellSyntaxError) as caught:
        program(body, place="Cell In[3]")
    error = caught.value
    assert (error.line, error.text) == (line, shown)
    assert problem in str(error)
    rendered = "\n".join(error._render_traceback_())
    assert f"Cell In[3], line {line}\n    {shown.strip()}" in rendered
    assert "SyntaxError: " in rendered


def test_the_caret_stands_under_the_place() -> None:
    with pytest.raises(CellSyntaxError) as caught:
        program("if x:\n    y = = 2")
    first, _last = caught.value._render_traceback_()
    line, caret = first.splitlines()[1:]
    assert line[caret.index("^")] == "="


@pytest.mark.parametrize("body", ["s = '''\n%time\n!ls\n'''\ns", "x = 7\nx = (x\n% 3)\nx", "a = 5 %2\na"])
def test_what_only_looks_like_a_magic_is_python(body: str) -> None:
    run(body)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("@workflow.defn\nclass W: ...", True),
        ("import x\n@workflow.defn(name='n')\nclass W: ...", True),
        ("@defn\nclass W: ...", True),
        ("@dataclass\nclass W: ...", False),
        ("@activity.defn\ndef f(): ...", False),
        ("class W: ...", False),
        ("1", False),
    ],
)
def test_which_body_is_a_class(body: str, expected: bool) -> None:
    assert is_class_cell(ast.parse(body)) is expected


def test_the_version_follows_the_code_not_its_layout() -> None:
    one = program("x = f(1)  # comment\n\nx").versioned_source(["f"])
    assert one == program("x = f( 1 )\nx").versioned_source(["f"])
    assert one != program("x = f(2)\nx").versioned_source(["f"])
    assert one != program("x = f(1)\nx").versioned_source(["g", "f"])
    assert one == "x = f(1)\nx\n# by reference: f"


class Colour(enum.Enum):
    RED = 1


@dataclass
class Point:
    x: int


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        (1, int),
        ("a", str),
        (None, type(None)),
        (Point(1), Point),
        (Colour.RED, Colour),
        (dt.datetime(2026, 1, 1, tzinfo=dt.UTC), dt.datetime),
        ([1, 2], list[int]),
        ([Point(1), Point(2)], list[Point]),
        ([1, "a"], list),
        ([], list),
        ({1, 2}, set[int]),
        ({"a": Point(1)}, dict[str, Point]),
        ({"a": 1, "b": "x"}, dict[str, Any]),
        ({}, dict),
        ((1, Point(2)), tuple[int, Point]),
        ((), tuple),
        ([[Point(1)], [Point(2)]], list[list[Point]]),
    ],
)
def test_the_type_as_which_a_value_is_read_back(value: object, hint: object) -> None:
    assert type_hint(value) == hint
