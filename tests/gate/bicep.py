"""Bicep files as data: declarations, and bodies as dicts, lists and literals. What is no literal stays an Expr."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import tree_sitter_bicep
from tree_sitter import Language, Node, Parser


@dataclass(frozen=True, slots=True)
class Expr:
    """Source text that is only known at deployment."""

    text: str


@dataclass(frozen=True, slots=True)
class Param:
    name: str
    type: str
    default: Any
    required: bool
    secure: bool
    line: int


@dataclass(frozen=True, slots=True)
class Resource:
    """`condition` is the text of its `if`, None without one; `loop` the text it loops over."""

    file: str
    symbol: str
    type: str
    version: str
    existing: bool
    condition: str | None
    loop: str | None
    body: dict[str, Any]
    line: int

    def get(self, path: str) -> Any:
        """The value at `properties.sku.name` or `properties.subnets.0.name`; None if it is not there as a literal."""
        value: Any = self.body
        for part in path.split("/") if "/" in path else path.split("."):
            items = dict(enumerate(value)) if isinstance(value, list) else value
            value = items.get(int(part) if isinstance(value, list) else part) if isinstance(items, dict) else None
        return value


@dataclass(frozen=True, slots=True)
class Module:
    symbol: str
    path: str
    condition: str | None
    params: dict[str, Any]
    depends_on: tuple[str, ...]
    line: int


@dataclass
class BicepFile:
    """One .bicep file; `name` is relative to the infra folder."""

    name: str
    root: Node
    params: dict[str, Param] = field(default_factory=dict)
    variables: dict[str, Any] = field(default_factory=dict)
    resources: list[Resource] = field(default_factory=list)
    modules: list[Module] = field(default_factory=list)
    outputs: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def nodes(self) -> tuple[Node, ...]:
        return tuple(walk(self.root))


@cache
def _parser() -> Parser:
    return Parser(Language(tree_sitter_bicep.language()))


def parse(path: Path, name: str) -> BicepFile:
    """Read a file. What the grammar does not know is not raised here: see `broken`."""
    file = BicepFile(name, _parser().parse(path.read_bytes()).root_node)
    decorators: set[str] = set()
    for node in file.root.named_children:
        if node.type == "decorators":
            decorators = {text(call.named_children[0]) for call in walk(node) if call.type == "call_expression"}
            continue
        _declare(file, node, decorators)
        decorators = set()
    return file


def broken(file: BicepFile) -> Iterator[Node]:
    return (node for node in file.nodes if node.is_error or node.is_missing)


def walk(node: Node) -> Iterator[Node]:
    yield node
    for child in node.children:
        yield from walk(child)


def text(node: Node) -> str:
    return (node.text or b"").decode()


def line(node: Node) -> int:
    return node.start_point[0] + 1


def literal(node: Node) -> Any:
    """Objects, arrays, strings, numbers, booleans and null; an Expr for the rest."""
    children = [child for child in node.named_children if child.type != "comment"]
    match node.type:
        case "object":
            pairs = [child.named_children for child in children if child.type == "object_property"]
            return {source(literal(pair[0])): literal(pair[1]) for pair in pairs if len(pair) > 1}
        case "array":
            return [literal(child) for child in children]
        case "string" if not any(child.type == "interpolation" for child in walk(node)):
            return "".join(text(child).removeprefix("\\") for child in children)
        case "number":
            return int(text(node))
        case "unary_expression" if text(node).removeprefix("-").isdigit():
            return int(text(node))
        case "boolean":
            return text(node) == "true"
        case "null":
            return None
    return Expr(text(node))


def source(value: Any) -> str:
    """A value of a body as text."""
    return value.text if isinstance(value, Expr) else str(value)


def _declare(file: BicepFile, node: Node, decorators: set[str]) -> None:
    children = node.named_children
    match node.type:
        case "parameter_declaration":
            name, kind, *default = children
            file.params[text(name)] = Param(
                text(name),
                text(kind),
                literal(default[0]) if default else None,
                not default,
                "secure" in decorators,
                line(node),
            )
        case "variable_declaration":
            file.variables[text(children[0])] = literal(children[1])
        case "output_declaration":
            file.outputs[text(children[0])] = literal(children[-1])
        case "resource_declaration":
            condition, loop, body = _body(children[-1])
            resource_type, _, version = str(literal(children[1])).partition("@")
            existing = any(child.type == "existing" or text(child) == "existing" for child in node.children)
            symbol = text(children[0])
            file.resources.append(
                Resource(file.name, symbol, resource_type, version, existing, condition, loop, body, line(node))
            )
        case "module_declaration":
            condition, _, body = _body(children[-1])
            symbol, path = text(children[0]), str(literal(children[1]))
            depends_on = tuple(one.text for one in body.get("dependsOn") or ())
            file.modules.append(Module(symbol, path, condition, body.get("params") or {}, depends_on, line(node)))


def _body(node: Node) -> tuple[str | None, str | None, dict[str, Any]]:
    """Condition, loop and object of a resource's or a module's right side."""
    condition: str | None = None
    loop: str | None = None
    while node.type in ("if_statement", "for_statement"):
        if node.type == "if_statement":
            condition = text(node.named_children[0]).removeprefix("(").removesuffix(")")
        else:
            loop = text(node.named_children[-2])
        node = node.named_children[-1]
    body = literal(node)
    return condition, loop, body if isinstance(body, dict) else {}


@dataclass(slots=True)
class Infra:
    """All files below a folder, by their name."""

    folder: Path
    files: dict[str, BicepFile]

    @property
    def resources(self) -> Iterator[Resource]:
        """What is created; resources that are only referred to are left out."""
        return (r for file in self.files.values() for r in file.resources if not r.existing)

    def of_type(self, kind: str) -> list[Resource]:
        return [resource for resource in self.resources if resource.type == kind]


def read(folder: Path) -> Infra:
    paths = sorted(folder.rglob("*.bicep"))
    names = [path.relative_to(folder).as_posix() for path in paths]
    return Infra(folder, {name: parse(path, name) for name, path in zip(names, paths, strict=True)})
