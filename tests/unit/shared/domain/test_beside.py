"""Tables of TOML beside a module."""

from __future__ import annotations

from pathlib import Path

import pytest

from shared.domain.beside import read_beside


@pytest.mark.parametrize(("file", "name"), [("words.toml", ""), ("other.toml", "other.toml")])
def test_a_table_is_read_from_the_file_of_the_modules_name_or_of_another(tmp_path: Path, file: str, name: str) -> None:
    (tmp_path / file).write_text('signs = "é �"\n', encoding="utf-8")
    assert read_beside(str(tmp_path / "words.py"), name) == {"signs": "é �"}
