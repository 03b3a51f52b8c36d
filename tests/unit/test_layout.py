"""tests/unit mirrors the packages: the tests of a module are in the file of its name, and each file names a module."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.paths import ROOT

PACKAGES = ("cli", "functions", "shared", "training_job", "local_stack")
UNIT = Path("tests/unit")
# A module that a suite of several modules tests, and the suite, which names it.
IN_A_SUITE = {
    "local_stack/azure_ml/published.py": "tests/unit/infra/test_types.py",
    "local_stack/service_bus/amqp.py": "tests/contract/test_event_bus.py",
    "local_stack/service_bus/service.py": "tests/contract/test_event_bus.py",
    "local_stack/stack.py": "tests/stack/test_stack.py",
    "shared/ports/blobs.py": "tests/contract/test_blob_store.py",
    "shared/ports/store.py": "tests/contract/test_run_store.py",
    "shared/ports/bus.py": "tests/contract/test_event_bus.py",
}
BRANCHES = (
    ast.If, ast.IfExp, ast.For, ast.AsyncFor, ast.While, ast.Try, ast.Match, ast.BoolOp, ast.comprehension,
)  # fmt: skip


def modules(package: str) -> list[Path]:
    return sorted(path.relative_to(ROOT) for path in (ROOT / package).rglob("*.py"))


def has_logic(module: Path) -> bool:
    """Whether it has more than declarations: a function with a branch or with more than three statements."""
    tree = ast.parse((ROOT / module).read_text())
    return any(
        len([inner for inner in ast.walk(each) if isinstance(inner, ast.stmt)][1:]) > 3
        or any(isinstance(inner, BRANCHES) for inner in ast.walk(each))
        for each in ast.walk(tree)
        if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)
    )


def name_of(module: Path) -> str:
    """What its tests call it: `__main__` is main, and the `__init__` of a package is the package."""
    return module.parent.name if module.stem == "__init__" else module.stem.strip("_")


def file_of_tests(module: Path) -> Path:
    return UNIT / module.parent / f"test_{name_of(module)}.py"


@pytest.mark.parametrize("package", PACKAGES)
def test_each_module_with_logic_has_a_test_file_of_its_name(package: str) -> None:
    found = modules(package)
    assert found
    without = {path.as_posix() for path in found if has_logic(path) and not (ROOT / file_of_tests(path)).is_file()}
    assert without == {path for path in IN_A_SUITE if path.startswith(f"{package}/")}


@pytest.mark.parametrize("package", PACKAGES)
def test_each_test_file_names_a_module_or_its_package(package: str) -> None:
    """`test_module.py`, or `test_module_aspect.py` for one aspect of it."""
    names = {(UNIT / path.parent, name_of(path)) for path in modules(package)}
    names |= {(UNIT / path.parent, path.parent.name) for path in modules(package)}

    def is_named(file: Path) -> bool:
        words = file.stem.removeprefix("test_").split("_")
        return any((file.parent, "_".join(words[:end])) in names for end in range(1, len(words) + 1))

    files = (path.relative_to(ROOT) for path in (ROOT / UNIT / package).rglob("test_*.py"))
    assert [file.as_posix() for file in sorted(files) if not is_named(file)] == []


def test_a_suite_names_the_module_that_it_tests() -> None:
    for module, suite in IN_A_SUITE.items():
        text = (ROOT / suite).read_text()
        package, _, name = module.removesuffix(".py").replace("/", ".").rpartition(".")
        assert f"{package}.{name}" in text or f"from {package} import {name}" in text, f"{suite} does not name {module}"


def test_the_app_imports_functions_and_services_and_the_recipes_nothing_of_ours() -> None:
    """Modules outside of a package, which the import contracts do not see."""
    files = {"function_app.py": {"functions", "shared"}} | {f"{path}": set() for path in ROOT.glob("recipes/**/*.py")}
    ours = {path.name for path in ROOT.iterdir() if (path / "__init__.py").is_file()} | {"tests", "torch"}
    for file, allowed in files.items():
        found = list(ast.walk(ast.parse((ROOT / file).read_text())))
        names = {one.name for node in found if isinstance(node, ast.Import) for one in node.names}
        names |= {node.module or "" for node in found if isinstance(node, ast.ImportFrom)}
        assert {name.partition(".")[0] for name in names} & ours == allowed, file
