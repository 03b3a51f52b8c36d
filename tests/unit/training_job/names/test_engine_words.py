"""The lists of words."""

from __future__ import annotations

import re
from pathlib import Path

from training_job.names import engine


def test_every_line_of_the_file_adds_its_words_to_its_list() -> None:
    text = Path(engine.__file__).with_name("words.txt").read_text("utf-8")
    found = [(name, word) for name, line in re.findall(r"^(\w+): (.*)$", text, re.MULTILINE) for word in line.split()]
    assert {(name, word) for name, listed in engine.WORDS.items() for word in listed} == set(found)
    assert len(engine.WORDS) == len({name for name, _ in found}) > 1
