"""The shape of a stored document is known to shared/records alone."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.paths import ROOT

PACKAGES = ("shared", "functions", "cli", "local_stack")
# The repositories, and what keeps documents of any shape. The document of a dataset's row is another matter.
ALLOWED = (
    "shared/records/",
    "shared/ports/",
    "shared/embedded/store.py",
    "shared/clients/cosmos.py",
    "shared/validation/",
)


def shapes(source: str) -> Iterator[str]:
    """Expressions that read a field of a stored document, or write one."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Attribute) and node.value.attr == "document":
            yield ast.unparse(node)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Write":
            yield ast.unparse(node)


def files() -> Iterator[tuple[str, Path]]:
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            name = path.relative_to(ROOT).as_posix()
            if not name.startswith(ALLOWED) and "node_modules" not in name:
                yield name, path


def test_no_document_is_read_or_written_outside_the_records() -> None:
    found = [f"{name}: {shape}" for name, path in files() for shape in shapes(path.read_text())]
    assert found == []


def test_a_field_that_is_read_and_a_write_are_found() -> None:
    source = 'status = store.get(id, "run").document["status"]\nstore.batch(id, [Write("create", "run", {})])\n'
    assert len(list(shapes(source))) == 2
