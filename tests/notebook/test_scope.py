from __future__ import annotations

import ast

import pytest

from flowkernel.notebook.scope import free_names


def names(code: str) -> str:
    """Free names in order; optional ones with a question mark."""
    return " ".join(name.name + ("" if name.required else "?") for name in free_names(ast.parse(code)))


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("x", "x"),
        ("x = 1\nx", ""),
        ("x\nx = 1", "x"),
        ("x += 1", "x"),
        ("x = 1\nx += 1", ""),
        ("x: int\nx", "int x"),
        ("x: int = 1\nx", "int"),
        ("a.b.c", "a"),
        ("a.b = c", "c a"),
        ("a[i] = 1", "a i"),
        ("a, (b, *c) = d\na, b, c", "d"),
        ("del x", "x"),
        ("x = 1\ndel x\nx", ""),
        ("await load(source)", "load source"),
        ("rows = await load(source)\n(await summarise(rows))['mean']", "load source summarise"),
        ("import a.b, c as d\na, d", ""),
        ("from m import a as b, c\nb, c", ""),
        ("from m import *\nx", "x?"),
        ("f'{x!r:>{width}}'", "x width"),
        ("print(len)", "print len"),
        ("__name__, __file__", ""),
        ("global x\nx = 1\nx", ""),
        # comprehensions
        ("[x for x in xs]", "xs"),
        ("[x + y for x in xs for y in x.ys if y > z]", "xs z"),
        ("x = 1\n[x for x in xs if x]\nx", "xs"),
        ("{k: v for k, v in d.items()}", "d"),
        ("(x for x in xs)", "xs"),
        ("[x for x in x]", "x"),
        ("[[b for b in a] for a in rows]", "rows"),
        ("if (n := f()) > 1: n", "f"),
        ("[y for x in xs if (y := x)]\ny", "xs y?"),
        ("total = 0\n[total := total + v for v in values]\ntotal", "values"),
        # functions
        ("def f(a, b=c, *d, e: T, **g) -> R:\n    return a + b + h", "c T R h"),
        ("def f():\n    x = 1\n    return x", ""),
        ("def f():\n    return k\nk = 1\nf()", ""),
        ("def f():\n    global n\n    n = 1\nf()\nn", "n?"),
        ("def f():\n    global n\n    n += 1\nn = 0\nf()", ""),
        ("def f():\n    x = 1\n    def g():\n        nonlocal x\n        x += y\n    return g", "y"),
        ("def f():\n    def g():\n        return f(z)\n    return g", "z"),
        ("def f():\n    x: Secret = 1\n    return x", ""),
        ("def f():\n    import os\n    from a import b\n    return os, b", ""),
        ("def f():\n    try: pass\n    except E as e: return e", "E"),
        ("async def f():\n    async with a as b: return b\n    async for c in d: c", "a d"),
        ("lambda x, y=z: x + y + w", "z w"),
        ("@deco(arg)\ndef f(): ...", "deco arg"),
        ("def f():\n    return f()", ""),
        ("def f():\n    [q for q in qs if (r := q)]\n    return r", "qs"),
        # classes
        ("class A(B, metaclass=M):\n    x = y\n    def m(self): return x + z + __class__", "B M y x z"),
        ("class A:\n    x = 1\n    y = x", ""),
        ("class A:\n    def m(self): return late\nlate = 1", ""),
        ("@dec\nclass A: pass\nA()", "dec"),
        # control flow
        ("if c:\n    x = 1\nelse:\n    x = 2\nx", "c"),
        ("if c:\n    x = 1\nx", "c x?"),
        ("if c:\n    x = 1\nelse:\n    raise E\nx", "c E"),
        ("for i in r:\n    if i: prev\n    prev = i", "r prev?"),
        ("for i in r: x = i\nx", "r x?"),
        ("for i in r: x = i\nelse: x = 0\nx", "r"),
        ("while True:\n    x = f()\n    if x: break\nx", "f"),
        ("while c: x = 1\nx", "c x?"),
        ("for i in r:\n    if i: continue\n    y", "r y"),
        ("try: x = 1\nexcept E: x = 2\nx", "E"),
        ("try: x = f()\nexcept E: pass\nx", "f E x?"),
        ("try: x = f()\nexcept E as e:\n    raise\nx", "f E"),
        ("try: f()\nexcept E as e: e\ne", "f E e?"),
        ("try: pass\nfinally: x = 1\nx", ""),
        ("try: f()\nexcept* E as g: g", "f E"),
        ("with a as b, c(b) as d: d", "a c"),
        (
            "match p:\n    case [a, *b]: a, b\n    case {'k': c, **d}: c, d\n    case P(x=e) as f if g: e, f\n    case Q.R: ...",
            "p P g Q",
        ),
        ("match p:\n    case 1: x = 1\n    case _: x = 2\nx", "p"),
        ("match p:\n    case 1: x = 1\nx", "p x?"),
        ("a and (b := c)\nb", "a c b?"),
        ("(b := 1) if c else d\nb", "c d b?"),
        ("assert x, y", "x y"),
        ("raise A from B\nnever", "A B"),
    ],
)
def test_free_names(code: str, expected: str) -> None:
    assert sorted(names(code).split()) == sorted(expected.split())


def test_they_come_in_the_order_of_their_first_use_with_their_place() -> None:
    found = free_names(ast.parse("b\nf(a, b)"))
    assert [(name.name, name.line, name.column) for name in found] == [("b", 1, 0), ("f", 2, 0), ("a", 2, 2)]


def test_an_optional_read_becomes_required_by_a_certain_one() -> None:
    assert names("if c:\n    x = 1\nx\ndel x") == "c x?"
    assert names("def f():\n    return x\nif c: pass\nx") == "c x"
