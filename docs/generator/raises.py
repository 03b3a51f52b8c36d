"""Which codes a module raises: read from its source, because a code exists only where it is raised."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from math import inf

from shared.domain.errors import FailureClass

Texts = dict[str, str]


@dataclass(frozen=True, slots=True, order=True)
class Raised:
    """One code as it stands in the source: `kind` is a failure class or an HTTP status, empty if neither is written."""

    code: str
    kind: str
    message: str
    module: str


def in_module(source: str, name: str, module: str) -> Iterator[Raised]:
    """Calls of `name`, calls with a FailureClass before the code, and calls of local functions that pass a code on."""
    tree = ast.parse(source)
    constants = _constants(tree.body)
    passing = _passing(tree, name)
    scopes: list[ast.Module | ast.FunctionDef] = [tree, *_functions(tree)]
    for function in scopes:
        for call in _own_calls(function):
            own = {} if isinstance(function, ast.Module) else _constants(function.body, before=call.lineno)
            raised = _read(call, name, constants | own, passing)
            if raised is not None and raised[0] and not raised[0].startswith("…"):
                yield Raised(*raised, module)


def _functions(tree: ast.AST) -> list[ast.FunctionDef]:
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]


def _own_calls(function: ast.Module | ast.FunctionDef) -> Iterator[ast.Call]:
    """Calls in a function's body, those of inner functions left out."""
    waiting: list[ast.AST] = list(function.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef):
            continue
        if isinstance(node, ast.ClassDef) and isinstance(function, ast.Module):
            continue
        if isinstance(node, ast.Call):
            yield node
        waiting.extend(ast.iter_child_nodes(node))


def _passing(tree: ast.Module, name: str) -> dict[str, tuple[int, str]]:
    """Functions with a parameter `code` that they pass on: its position, and the kind they give."""
    found = {}
    for function in _functions(tree):
        names = [argument.arg for argument in function.args.args]
        if "code" in names:
            for call in _own_calls(function):
                read = _read(call, name, {"code": "code"}, {})
                if read is not None and read[0] == "code":
                    found[function.name] = (names.index("code") - names.count("self"), read[1])
    return found


def _read(call: ast.Call, name: str, texts: Texts, passing: dict[str, tuple[int, str]]) -> tuple[str, str, str] | None:
    """Code, kind and message of a call; None if it raises no code."""
    called = getattr(call.func, "id", getattr(call.func, "attr", ""))
    kinds = [kind for kind in map(_failure_class, call.args) if kind is not None]
    if kinds:
        position = next(i for i, argument in enumerate(call.args) if _failure_class(argument) is not None)
        return _at(call, position + 1, kinds[0], texts)
    if called == name == "Problem":
        given = {keyword.arg: keyword.value for keyword in call.keywords}
        return _text(given.get("code"), texts), "", _text(given.get("message"), texts)
    if called in (name, "PermanentFailure"):
        kind = call.args[0] if call.args else None
        return _at(call, 1, str(kind.value) if isinstance(kind, ast.Constant) else "", texts)
    if called == "existing" and name == "ApiError":  # functions.http.errors.existing
        return _at(call, 1, "404", texts)
    if called in passing:
        position, kind_given = passing[called]
        return _at(call, position, kind_given, texts)
    return None


def _at(call: ast.Call, position: int, kind: str, texts: Texts) -> tuple[str, str, str]:
    parts = [_text(argument, texts) for argument in call.args[position : position + 2]]
    code, message = [*parts, "", ""][:2]
    return code, kind, message


def _failure_class(node: ast.expr) -> str | None:
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "FailureClass":
        return FailureClass[node.attr].value
    return None


def _text(node: ast.expr | None, texts: Texts) -> str:
    """The text of an expression, with … for what is known only at run time."""
    match node:
        case None:
            return ""
        case ast.Constant():
            return str(node.value)
        case ast.Name():
            return texts.get(node.id, "…")
        case ast.JoinedStr():
            return "".join(_text(part, texts) if isinstance(part, ast.Constant) else "…" for part in node.values)
        case ast.BoolOp() if isinstance(node.values[-1], ast.Constant):
            return _text(node.values[-1], texts)
        case ast.BinOp() if isinstance(node.op, ast.Add):
            return _text(node.left, texts) + _text(node.right, texts)
    return "…"


def _constants(body: list[ast.stmt], before: float = inf) -> Texts:
    """Names that are given a text above a line: the last text of each."""
    found: Texts = {}
    nodes = [node for statement in body for node in ast.walk(statement) if isinstance(node, ast.Assign)]
    for node in sorted(nodes, key=lambda node: node.lineno):
        if node.lineno < before:
            for target in node.targets:
                found |= _pairs(target, node.value)
    return found


def _pairs(target: ast.expr, value: ast.expr) -> Texts:
    if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
        return {
            name: text for t, v in zip(target.elts, value.elts, strict=False) for name, text in _pairs(t, v).items()
        }
    if isinstance(target, ast.Name) and isinstance(value, (ast.Constant, ast.JoinedStr, ast.BoolOp)):
        text = _text(value, {})
        return {target.id: text} if text and not text.isdigit() else {}
    return {}
