"""Links of the documents lead somewhere, and their lines can be read in a diff."""

from __future__ import annotations

import re
import subprocess
import textwrap
from functools import cache
from pathlib import Path

import pytest
import yaml

from tests.paths import ROOT

LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
TARGET = re.compile(r"\]\([^)\s]+\)")
FENCE = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
LONGEST = 120
YAML = re.compile(r"^( *)```yaml\n(.*?)^ *```", re.DOTALL | re.MULTILINE)


def documents() -> list[str]:
    known = subprocess.check_output(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"], cwd=ROOT, text=True
    )
    return sorted(path for path in set(known.split()) if (ROOT / path).exists())


@cache
def prose(path: Path) -> str:
    """The document without its blocks of code."""
    return FENCE.sub("", path.read_text(encoding="utf-8"))


@cache
def anchors(path: Path) -> set[str]:
    """What GitHub makes of headings: lower case, no punctuation, blanks as dashes, and numbers for repeats."""
    found: set[str] = set()
    for heading in re.findall(r"^#+ (.+)$", prose(path), re.MULTILINE):
        name = re.sub(r"[^\w\- ]", "", re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()).replace(" ", "-")
        number = 0
        while (anchor := f"{name}-{number}" if number else name) in found:
            number += 1
        found.add(anchor)
    return found


@pytest.mark.parametrize("name", documents())
def test_every_link_leads_to_a_file_and_every_anchor_to_a_heading(name: str) -> None:
    document = ROOT / name
    for target in LINK.findall(prose(document)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        found = (document.parent / path).resolve() if path else document
        assert found.exists(), target
        assert not anchor or anchor in anchors(found), target


@pytest.mark.parametrize("name", documents())
def test_lines_are_wrapped_except_in_tables_code_and_for_links(name: str) -> None:
    lines = [line for line in prose(ROOT / name).splitlines() if not line.startswith(("|", "    "))]
    assert [line for line in lines if len(TARGET.sub("]()", line)) > LONGEST] == []


def test_the_index_names_every_page() -> None:
    listed = set(LINK.findall((ROOT / "docs" / "README.md").read_text(encoding="utf-8")))
    pages = {
        str(path.relative_to(ROOT / "docs"))
        for part in ("tutorial", "how-to", "reference", "explanation")
        for path in (ROOT / "docs" / part).glob("*.md")
    }
    assert pages
    assert pages - listed == set()


@pytest.mark.parametrize("name", [name for name in documents() if "```yaml" in (ROOT / name).read_text("utf-8")])
def test_every_block_of_yaml_is_yaml_and_names_settings(name: str) -> None:
    for _, block in YAML.findall((ROOT / name).read_text("utf-8")):
        assert isinstance(yaml.safe_load(textwrap.dedent(block)), dict | list)
