"""The documents list exactly the codes there are. UPDATE_GOLDEN=1 writes the tables anew."""

from __future__ import annotations

import os

import pytest

from shared.domain.findings import Code
from shared.rendering.check import TOKEN_CODES
from shared.validation.codes import CODES
from shared.validation.content.codes import CONTENT_CODES
from tests.paths import ROOT

DOCS = ROOT / "docs"
START = "| code | severity | what it means | what to do |\n|---|---|---|---|\n"
TABLES = {"validation.md": CODES, "validation-content.md": CONTENT_CODES, "tokens.md": TOKEN_CODES}


@pytest.mark.parametrize("name", TABLES)
def test_the_documented_codes_are_the_codes_with_their_severity_and_words(name: str) -> None:
    document, codes = DOCS / name, TABLES[name]
    table = START + "".join(line(code, known) for code, known in codes.items()) + "\n"
    if os.environ.get("UPDATE_GOLDEN"):
        head, _, rest = document.read_text(encoding="utf-8").partition(START)
        document.write_text(head + table + rest.partition("\n\n")[2], encoding="utf-8")
    assert table in document.read_text(encoding="utf-8")


def line(code: str, known: Code) -> str:
    return f"| `{code}` | {known.severity} | {known.message.replace('{detail}', '…')} | {known.fix} |\n"


def test_no_code_is_in_two_tables() -> None:
    names = [name for codes in TABLES.values() for name in codes]
    assert len(names) == len(set(names))
