"""tests/unit mirrors the packages: the tests of a module are in the file of its name."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.paths import ROOT

# What holds no more than declarations, checked by the tests of those who use it.
WITHOUT_TESTS = {
    "functions/http/dependencies.py",
    "shared/step_support/commands.py",
}


def modules(package: str) -> list[Path]:
    found = (path.relative_to(ROOT) for path in (ROOT / package).rglob("*.py"))
    return sorted(path for path in found if path.name not in ("__init__.py", "__main__.py"))


def files_of_tests(module: Path) -> list[Path]:
    """The file of the module, or the one of the package that it is a part of."""
    folder = Path("tests/unit") / module.parent
    return [folder / f"test_{module.name}", folder.parent / f"test_{module.parent.name}.py"]


@pytest.mark.parametrize("package", ["functions", "shared/records", "shared/step_support", "shared/steps"])
def test_each_module_has_a_test_file_of_its_name(package: str) -> None:
    found = modules(package)
    assert found
    without = {
        module.as_posix() for module in found if not any((ROOT / path).is_file() for path in files_of_tests(module))
    }
    assert without == {path for path in WITHOUT_TESTS if path.startswith(f"{package}/")}
