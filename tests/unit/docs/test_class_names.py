"""One class name has one meaning: a traceback or a search result is understood without its folder."""

from __future__ import annotations

import ast
import subprocess
from collections import defaultdict

from tests.paths import ROOT


def test_no_two_classes_of_the_product_have_one_name() -> None:
    listed = subprocess.check_output(["git", "ls-files", "*.py"], cwd=ROOT, text=True).split()
    places = defaultdict(list)
    for name in listed:
        if name.startswith("tests/") or not (ROOT / name).exists():
            continue
        for node in ast.walk(ast.parse((ROOT / name).read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                places[node.name].append(f"{name}:{node.lineno}")
    assert places
    assert {name: found for name, found in places.items() if len(found) > 1} == {}
