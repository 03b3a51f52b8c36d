"""What the compiler would refuse, as far as it can be told without one: names, modules, parameters, outputs."""

import json
import re
from collections.abc import Iterator

from tree_sitter import Node

from tests.gate.bicep import BicepFile, Infra, broken, line, text, walk
from tests.gate.finding import Violations, rule

FUNCTIONS = frozenset(
    {
        "allowed", "description", "empty", "environment", "guid", "int", "loadJsonContent", "maxLength", "minLength",
        "replace", "resourceGroup", "resourceId", "secure", "subscription", "subscriptionResourceId", "toLower",
        "union", "uniqueString",
    }
)  # fmt: skip
# What checkov's parser or tree-sitter's grammar has no word for: a file with these is not checked, it is skipped.
UNREADABLE = frozenset(
    {
        "array_type", "assert_statement", "import_functionality", "import_statement", "lambda_expression",
        "negated_type", "nullable_type", "parameterized_type", "test_block", "type_declaration", "union_type",
        "user_defined_function",
    }
)  # fmt: skip
_OUTPUT = re.compile(r"\b(\w+)\.outputs\.(\w+)")


@rule("parses")
def parses(infra: Infra) -> Violations:
    for file in infra.files.values():
        for node in broken(file):
            yield f"{file.name}:{line(node)}", f"cannot be read: {text(node)[:40]!r}"


@rule("only-what-both-parsers-read")
def only_what_both_parsers_read(infra: Infra) -> Violations:
    for file in infra.files.values():
        for node in file.nodes:
            if node.type in UNREADABLE:
                yield f"{file.name}:{line(node)}", f"{node.type}: checkov would skip the file"


@rule("names-are-declared")
def names_are_declared(infra: Infra) -> Violations:
    for file in infra.files.values():
        known = _declared(file) | FUNCTIONS
        for node in _used(file):
            if text(node) not in known | _loop_variables(node):
                yield f"{file.name}:{line(node)}", f"{text(node)} is neither declared nor a known function"


@rule("declarations-are-used")
def declarations_are_used(infra: Infra) -> Violations:
    for file in infra.files.values():
        used = {text(node) for node in _used(file)}
        for name in (*file.params, *file.variables):
            if name not in used:
                yield file.name, f"{name} is declared and never used"


@rule("modules-get-their-parameters")
def modules_get_their_parameters(infra: Infra) -> Violations:
    """Exactly those declared: a default in a module would hide what main.bicep forgot."""
    for file in infra.files.values():
        for module in file.modules:
            where = f"{file.name}:{module.line}"
            target = infra.files.get(module.path)
            if target is None:
                yield where, f"{module.path} is no file here; a registry module cannot be checked"
                continue
            for name in sorted(target.params.keys() - module.params.keys()):
                yield where, f"module {module.symbol} lacks parameter {name}"
            for name in sorted(module.params.keys() - target.params.keys()):
                yield where, f"module {module.symbol} has no parameter {name}"


@rule("outputs-exist")
def outputs_exist(infra: Infra) -> Violations:
    for file in infra.files.values():
        modules = {module.symbol: module for module in file.modules}
        for symbol, output in sorted(set(_OUTPUT.findall(text(file.root)))):
            module = modules.get(symbol)
            target = infra.files.get(module.path) if module else None
            if module is None or (target is not None and output not in target.outputs):
                yield file.name, f"{symbol}.outputs.{output} does not exist"


@rule("azd-gives-every-parameter")
def azd_gives_every_parameter(infra: Infra) -> Violations:
    given = json.loads((infra.folder / "main.parameters.json").read_text())["parameters"]
    declared = infra.files["main.bicep"].params
    for name in sorted(declared.keys() ^ given.keys()):
        yield "main.parameters.json", f"{name} is " + ("not given" if name in declared else "not declared")


def _declared(file: BicepFile) -> set[str]:
    symbols = {resource.symbol for resource in file.resources} | {module.symbol for module in file.modules}
    return symbols | file.params.keys() | file.variables.keys()


def _used(file: BicepFile) -> Iterator[Node]:
    """Identifiers in expressions: no declared name, no loop's own variable, no key of a property."""
    for node in file.nodes:
        parent = node.parent
        if node.type != "identifier" or parent is None:
            continue
        is_first = parent.named_children[0].id == node.id
        names_something = parent.type in ("object_property", "for_statement") or parent.type.endswith("_declaration")
        if not (is_first and names_something):
            yield node


def _loop_variables(node: Node) -> set[str]:
    names: set[str] = set()
    above = node.parent
    while above is not None:
        if above.type == "for_statement":
            names |= {text(part) for part in walk(above.named_children[0])}
        above = above.parent
    return names
