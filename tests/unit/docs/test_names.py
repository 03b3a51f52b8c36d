"""Names in the documents are names in the code: keys, codes, statuses, settings, files, functions."""

from __future__ import annotations

import re
import subprocess
from functools import cache

import pytest

from docs.generator import PAGES
from tests.paths import ROOT

SOURCES = (".py", ".bicep", ".sh", ".yaml", ".yml", ".js", ".html", ".cjs", ".jinja", ".json", ".toml", "Dockerfile")
NAME = re.compile(r"\b[A-Za-z][A-Za-z0-9]*(?:_[A-Za-z0-9]+)+\b")
OTHER_TOOLS = "shared/validation/other_tools.toml"  # its tables are of names that are not ours
# Names of trl, bitsandbytes, vLLM and OpenAI that nothing here uses, a name made of `column_{}`, and a file that the
# reader makes.
ELSEWHERE = frozenset(
    {
        "api_key",
        "bnb_4bit_quant_storage",
        "column_1",
        "expires_after",
        "list_probes",
        "make_csv",
        "max_retries",
        "response_format",
        "sampling_params",
        "sysprompt_extraction",
        "unsafe_content",
    }
)


@cache
def known() -> frozenset[str]:
    """Words of the code; of tests, what they are called and the settings of the contract tests."""
    text, tests = _text_of(tests=False), _text_of(tests=True)
    words = re.findall(r"\w+", text) + re.findall(r"def (test_\w+)", tests) + re.findall(r"\bLIVE_\w+", tests)
    return frozenset(word.lower() for word in words)


def _text_of(*, tests: bool) -> str:
    listed = subprocess.check_output(["git", "ls-files"], cwd=ROOT, text=True).split()
    of_tests = {name for name in listed if name.startswith("tests/") and not name.startswith("tests/gate/")}
    names = [name for name in listed if name.endswith(SOURCES) and (name in of_tests) == tests]
    files = [ROOT / name for name in names if not name.startswith(("docs/", OTHER_TOOLS))]
    return "\n".join(file.read_text(encoding="utf-8") for file in files if file.exists())


def handwritten() -> list[str]:
    generated = {f"docs/reference/{name}" for name in PAGES}
    listed = subprocess.check_output(["git", "ls-files", "*.md"], cwd=ROOT, text=True).split()
    return sorted(name for name in set(listed) - generated - {"CHANGELOG.md"} if (ROOT / name).exists())


@pytest.mark.parametrize("name", handwritten())
def test_a_name_in_a_document_exists_in_the_code(name: str) -> None:
    text = re.sub(r"^```.*?^```", "", (ROOT / name).read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    spans = [span for span in re.findall(r"`([^`\n]+)`", text) if "/" not in span]
    named = {found for span in spans for found in NAME.findall(span)}
    assert {found for found in named - ELSEWHERE if found.lower() not in known()} == set()


def test_no_name_of_elsewhere_is_one_of_the_code() -> None:
    assert ELSEWHERE & known() == set()


def test_a_document_that_the_code_names_exists() -> None:
    listed = subprocess.check_output(["git", "ls-files"], cwd=ROOT, text=True).split()
    named = {
        found
        for name in listed
        if name.endswith(SOURCES) and (ROOT / name).exists()
        for found in re.findall(r"\bdocs/[\w./-]+\.md\b", (ROOT / name).read_text(encoding="utf-8"))
    }
    assert named
    assert {name for name in named if not (ROOT / name).exists()} == set()
