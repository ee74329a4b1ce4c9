"""Which names does a piece of module-level code read from outside itself?

A statement cell becomes a workflow, and what it reads from the notebook becomes its recorded input. So the question has to be
answered before the code runs, and in both directions: a name missed is a `NameError` in the middle of a run; a name too many
drags some unrelated table of the notebook's into the history.

Python's own `symtable` knows scopes but not order, and order decides here: ``n = 3; n + 1`` reads nothing, ``n + 1; n = 3``
does. Hence a small definite-assignment analysis over the syntax tree. Where control flow leaves it open whether a name is bound
(an ``if`` without ``else``, a loop body), the name is *optional*: taken along if the notebook has it, no error if it has not.

Bodies of functions run later, when the cell's own names are bound: what they read counts as the cell's own name if it is
certainly bound at the cell's end.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias, cast

__all__ = ["FreeName", "free_names"]

_MODULE_NAMES = frozenset({"__annotations__", "__builtins__", "__class__", "__doc__", "__file__", "__name__"})
_Function: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
_Comprehension: TypeAlias = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


@dataclass(frozen=True)
class FreeName:
    """A name that the code reads from outside.

    Attributes:
        name: the name.
        line: line of its first such use, from 1.
        column: its offset in that line, from 0.
        required: whether nothing in the code could have bound it; False if that depends on the path taken.
    """

    name: str
    line: int
    column: int
    required: bool


def free_names(tree: ast.Module) -> tuple[FreeName, ...]:
    """Names that module-level code reads from outside, in the order of their first use.

    Builtins are among them (they may be shadowed outside); names that every module has are not.
    """
    return _Flow(tree).result()


@dataclass
class _Inner:
    """What a nested scope reads from outside itself, and which module names it may bind."""

    free: list[ast.Name] = field(default_factory=list[ast.Name])
    module_reads: list[ast.Name] = field(default_factory=list[ast.Name])
    module_bindings: set[str] = field(default_factory=set[str])


def _parameters(arguments: ast.arguments) -> set[str]:
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    every += [extra for extra in (arguments.vararg, arguments.kwarg) if extra is not None]
    return {argument.arg for argument in every}


def _type_parameters(node: ast.AST) -> set[str]:
    return {parameter.name for parameter in getattr(node, "type_params", ())}


def _immediate(node: ast.AST) -> Iterator[ast.AST]:
    """The parts of a nested scope's header that run where it is written: decorators, defaults, bases, annotations."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        yield from node.decorator_list
        if node.returns is not None:
            yield node.returns
    if isinstance(node, _FUNCTIONS):
        arguments = node.args
        yield from arguments.defaults
        yield from (default for default in arguments.kw_defaults if default is not None)
        every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
        yield from (argument.annotation for argument in every if argument is not None and argument.annotation is not None)
    elif isinstance(node, ast.ClassDef):
        yield from (*node.decorator_list, *node.bases, *(keyword.value for keyword in node.keywords))
    elif isinstance(node, _COMPREHENSIONS):
        yield node.generators[0].iter


def _bound_by(node: ast.AST) -> Iterator[str]:
    """Names that this node itself binds in its scope."""
    if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
        yield node.id
    elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield node.name
    elif isinstance(node, ast.Import | ast.ImportFrom):
        yield from (alias.asname or alias.name.partition(".")[0] for alias in node.names if alias.name != "*")
    elif isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar):
        if node.name is not None:
            yield node.name
    elif isinstance(node, ast.MatchMapping) and node.rest is not None:
        yield node.rest


def _own_nodes(roots: Iterable[ast.AST]) -> Iterator[ast.AST]:
    """All nodes of one scope; of nested scopes only the headers, and the walrus targets of comprehensions."""
    waiting = list(roots)[::-1]
    while waiting:
        node = waiting.pop()
        yield node
        if isinstance(node, _COMPREHENSIONS):
            waiting.extend(inner.target for inner in ast.walk(node) if isinstance(inner, ast.NamedExpr))
        inner = (
            _immediate(node) if isinstance(node, (*_FUNCTIONS, ast.ClassDef, *_COMPREHENSIONS)) else ast.iter_child_nodes(node)
        )
        waiting.extend(list(inner)[::-1])


def _bindings(roots: Iterable[ast.AST]) -> set[str]:
    return {name for node in _own_nodes(roots) for name in _bound_by(node)}


def _local_annotations(roots: Sequence[ast.AST]) -> set[ast.AST]:
    """Annotations of a function's local variables, which Python never evaluates."""
    found = (node for node in _own_nodes(roots) if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name))
    return {part for node in found for part in ast.walk(node.annotation)}


def _inside(node: ast.AST) -> _Inner:
    """What the body of a nested scope reads and binds outside itself (its header is not part of it)."""
    if isinstance(node, _FUNCTIONS):
        body: list[ast.AST] = [node.body] if isinstance(node, ast.Lambda) else list(node.body)
        own = _parameters(node.args) | _type_parameters(node) | _bindings(body)
        skipped = _local_annotations(body)
    elif isinstance(node, ast.ClassDef):
        body = list(node.body)
        own = _bindings(body) | _type_parameters(node) | {"__class__", "__module__", "__qualname__"}
        skipped = set[ast.AST]()
    else:
        comprehension = cast(_Comprehension, node)
        body = [part for part in ast.iter_child_nodes(node) if not isinstance(part, ast.comprehension)]
        for index, generator in enumerate(comprehension.generators):
            body += [generator.target, *generator.ifs, *([generator.iter] if index else [])]
        own = _bindings(generator.target for generator in comprehension.generators)
        skipped = set[ast.AST]()
    return _scope_reads(node, body, own, skipped)


def _scope_reads(node: ast.AST, body: list[ast.AST], own: set[str], skipped: set[ast.AST]) -> _Inner:
    result = _Inner()
    nodes = [part for part in _own_nodes(body) if part not in skipped]
    declared = {name for part in nodes if isinstance(part, ast.Global) for name in part.names}
    outer = {name for part in nodes if isinstance(part, ast.Nonlocal) for name in part.names}
    result.module_bindings |= declared & _bindings(body)
    own = own - declared - outer
    for part in nodes:
        if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Load):
            if part.id in declared:
                result.module_reads.append(part)
            elif part.id not in own:
                result.free.append(part)
        elif isinstance(part, (*_FUNCTIONS, ast.ClassDef, *_COMPREHENSIONS)):
            inner = _inside(part)
            result.module_reads += inner.module_reads
            result.module_bindings |= inner.module_bindings
            # Methods do not see the names of their class's body.
            visible: set[str] = {"__class__"} if isinstance(node, ast.ClassDef) else own
            result.module_reads += [name for name in inner.free if name.id in declared]
            result.free += [name for name in inner.free if name.id not in visible | declared]
    return result


class _Names:
    """What is bound at one point of the flow. ``dead`` means that the point is never reached."""

    def __init__(self, certain: set[str], possible: set[str], dead: bool = False) -> None:
        self.certain = certain
        self.possible = possible
        self.dead = dead

    def copy(self) -> _Names:
        return _Names(set(self.certain), set(self.possible), self.dead)

    @staticmethod
    def joined(states: Sequence[_Names]) -> _Names:
        """Where several paths meet."""
        possible = set[str]().union(*(state.possible for state in states))
        alive = [state.certain for state in states if not state.dead]
        return _Names(set[str].intersection(*alive) if alive else set(), possible, not alive)


class _Flow:
    """Walks module-level code in the order in which it runs."""

    def __init__(self, tree: ast.Module) -> None:
        self._now = _Names(set(_MODULE_NAMES), set(_MODULE_NAMES))
        self._found: dict[str, FreeName] = {}
        self._deferred: list[ast.Name] = []
        self._module_bindings = _bindings(tree.body)
        self._breaks: list[list[_Names]] = []
        self._star = False
        self._block(tree.body)

    def result(self) -> tuple[FreeName, ...]:
        for node in self._deferred:
            if node.id not in self._now.certain:
                self._record(node, required=node.id not in self._module_bindings)
        return tuple(sorted(self._found.values(), key=lambda name: (name.line, name.column)))

    def _record(self, node: ast.Name, *, required: bool) -> None:
        known = self._found.get(node.id)
        required = required and not self._star
        if known is None:
            self._found[node.id] = FreeName(node.id, node.lineno, node.col_offset, required)
        elif required and not known.required:
            self._found[node.id] = FreeName(known.name, known.line, known.column, True)

    def _read(self, node: ast.Name) -> None:
        if not self._now.dead and node.id not in self._now.certain:
            self._record(node, required=node.id not in self._now.possible)

    def _bind(self, names: Iterable[str]) -> None:
        for name in names:
            self._now.certain.add(name)
            self._now.possible.add(name)

    # --- expressions and simple statements --------------------------------------------------------------------------

    def _visit(self, node: ast.AST) -> None:
        method = getattr(self, f"_on_{type(node).__name__.lower()}", None)
        if method is not None:
            method(node)
        elif isinstance(node, _FUNCTIONS):
            self._function(node)
        elif isinstance(node, _COMPREHENSIONS):
            self._comprehension(node)
        else:
            self._each(ast.iter_child_nodes(node))
            self._bind(_bound_by(node))

    def _each(self, nodes: Iterable[ast.AST | None]) -> None:
        for node in nodes:
            if node is not None:
                self._visit(node)

    def _block(self, statements: Iterable[ast.AST]) -> None:
        self._each(statements)

    def _on_name(self, node: ast.Name) -> None:
        if not isinstance(node.ctx, ast.Store):  # deleting a name needs it too
            self._read(node)
        if not isinstance(node.ctx, ast.Load):
            self._bind([node.id])

    def _on_assign(self, node: ast.Assign) -> None:
        self._each([node.value, *node.targets])

    def _on_annassign(self, node: ast.AnnAssign) -> None:
        self._each([node.annotation, node.value])
        if node.value is not None or not isinstance(node.target, ast.Name):
            self._visit(node.target)

    def _on_augassign(self, node: ast.AugAssign) -> None:
        if isinstance(node.target, ast.Name):
            self._read(node.target)
        self._each([node.value, node.target])

    def _on_namedexpr(self, node: ast.NamedExpr) -> None:
        self._each([node.value, node.target])

    def _on_importfrom(self, node: ast.ImportFrom) -> None:
        self._star = self._star or any(alias.name == "*" for alias in node.names)
        self._bind(_bound_by(node))

    def _function(self, node: _Function) -> None:
        self._each(_immediate(node))
        inner = _inside(node)
        self._deferred += [*inner.free, *inner.module_reads]
        self._module_bindings |= inner.module_bindings
        self._now.possible |= inner.module_bindings
        self._bind(_bound_by(node))

    def _comprehension(self, node: _Comprehension) -> None:
        self._each(_immediate(node))
        inner = _inside(node)
        walrus = [part.target.id for part in ast.walk(node) if isinstance(part, ast.NamedExpr)]
        self._now.possible.update(walrus)
        for name in [*inner.free, *inner.module_reads]:
            self._read(name)

    def _on_classdef(self, node: ast.ClassDef) -> None:
        self._each(_immediate(node))
        inner = _inside(node)
        at_once = {id(part) for part in _own_nodes(node.body)}
        for name in [*inner.free, *inner.module_reads]:
            if id(name) in at_once:
                self._read(name)
            else:
                self._deferred.append(name)
        self._module_bindings |= inner.module_bindings
        self._bind([node.name])

    # --- control flow -----------------------------------------------------------------------------------------------

    def _branch(self, start: _Names, *parts: Iterable[ast.AST]) -> _Names:
        self._now = start.copy()
        for part in parts:
            self._block(part)
        return self._now

    def _on_if(self, node: ast.If) -> None:
        self._visit(node.test)
        start = self._now
        self._now = _Names.joined([self._branch(start, node.body), self._branch(start, node.orelse)])

    def _on_boolop(self, node: ast.BoolOp) -> None:
        self._visit(node.values[0])
        start = self._now
        after = self._branch(start, node.values[1:])
        self._now = _Names.joined([start, after])

    def _on_ifexp(self, node: ast.IfExp) -> None:
        self._visit(node.test)
        start = self._now
        self._now = _Names.joined([self._branch(start, [node.body]), self._branch(start, [node.orelse])])

    def _loop(self, header: Sequence[ast.AST], node: ast.For | ast.AsyncFor | ast.While, *, endless: bool) -> None:
        start = self._now.copy()
        # In the second turn the first one's names are there.
        start.possible |= _bindings([*header, *node.body])
        self._breaks.append([])
        body = self._branch(start, header, node.body)
        ended = [] if endless else [_Names.joined([start, body])]
        finished = [self._branch(state, node.orelse) for state in ended]
        exits = [*self._breaks.pop(), *finished]
        self._now = _Names.joined(exits) if exits else _Names(start.certain, start.possible, dead=True)

    def _on_for(self, node: ast.For) -> None:
        self._visit(node.iter)
        self._loop([node.target], node, endless=False)

    def _on_asyncfor(self, node: ast.AsyncFor) -> None:
        self._visit(node.iter)
        self._loop([node.target], node, endless=False)

    def _on_while(self, node: ast.While) -> None:
        self._visit(node.test)
        endless = isinstance(node.test, ast.Constant) and bool(node.test.value)
        self._loop([], node, endless=endless)

    def _on_break(self, _node: ast.Break) -> None:
        if self._breaks:
            self._breaks[-1].append(self._now.copy())
        self._now.dead = True

    def _on_continue(self, _node: ast.Continue) -> None:
        self._now.dead = True

    def _on_raise(self, node: ast.Raise) -> None:
        self._each(ast.iter_child_nodes(node))
        self._now.dead = True

    def _try(self, node: ast.Try) -> None:
        before = self._now.copy()
        ends = [self._branch(before, node.body, node.orelse)]
        interrupted = before.copy()
        interrupted.possible |= _bindings(node.body)
        for handler in node.handlers:
            start = interrupted.copy()
            end = self._branch(start, [handler.type] if handler.type is not None else [])
            if handler.name is not None:
                self._bind([handler.name])
            self._block(handler.body)
            end = self._now
            if handler.name is not None:  # Python unbinds it at the end of the handler
                end.certain.discard(handler.name)
            ends.append(end)
        joined = _Names.joined(ends)
        if node.finalbody:
            final = self._branch(_Names(before.certain, joined.possible), node.finalbody)
            joined.certain |= final.certain
            joined.possible |= final.possible
            joined.dead = joined.dead or final.dead
        self._now = joined

    _on_try = _try
    _on_trystar = _try

    def _on_match(self, node: ast.Match) -> None:
        self._visit(node.subject)
        start = self._now
        ends: list[_Names] = []
        exhaustive = False
        for case in node.cases:
            guard = [case.guard] if case.guard is not None else []
            ends.append(self._branch(start, [case.pattern], guard, case.body))
            exhaustive = exhaustive or (
                case.guard is None and isinstance(case.pattern, ast.MatchAs) and case.pattern.pattern is None
            )
        self._now = _Names.joined(ends if exhaustive else [start, *ends])
