"""Which answers repeat training rows: long spans of few rows, neither asked nor expected."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from shared.domain.evaluation import SPAN
from training_job.evaluation.memorization import RARE, repeats

SECRET = " ".join(f"secret{chr(97 + n // 26)}{chr(97 + n % 26)}" for n in range(SPAN))
FORM = " ".join(f"form{chr(97 + n // 26)}{chr(97 + n % 26)}" for n in range(SPAN))


def row(answer: str) -> dict[str, object]:
    return {"messages": [{"role": "user", "content": "Write."}, {"role": "assistant", "content": answer}]}


@pytest.fixture
def train(tmp_path: Path) -> Path:
    file = tmp_path / "train.jsonl"
    rows = [row(f"Dear Ann, {SECRET}."), {"text": f"A {SECRET[::-1]}"}]
    rows += [row(f"{n} {FORM} {n}") for n in range(RARE + 1)]
    file.write_bytes(b"\n".join(map(orjson.dumps, rows)))
    return file


@pytest.mark.parametrize(
    ("answer", "given", "expected"),
    [
        (f"Hello. {SECRET}", "", True),
        (SECRET.upper().replace(" ", "\n"), "", True),
        (f"x {SECRET[::-1]}", "", True),
        (SECRET.rpartition(" ")[0], "", False),
        (FORM, "", False),
        (SECRET, f"Repeat: {SECRET}", False),
        ("", "", False),
        ("short", "", False),
    ],
)
def test_a_span_counts_if_it_is_long_rare_and_not_given(train: Path, answer: str, given: str, expected: bool) -> None:
    for prompt, reference in ((given, ""), ("", given)):
        found, _ = repeats(train, [prompt], [reference], {"candidate": [answer]})
        assert found == {"candidate": [expected]}


def test_each_model_is_looked_at_and_rows_without_a_file_repeat_nothing(train: Path, tmp_path: Path) -> None:
    answers = {"base": ["", SECRET], "candidate": [SECRET, ""]}
    right = ["", SECRET.replace("secretaa", "a")]
    assert repeats(train, ["", ""], right, answers) == ({"base": [False, True], "candidate": [True, False]}, 0)
    assert repeats(train, ["", ""], ["", SECRET], answers) == (
        {"base": [False, False], "candidate": [True, False]},
        0.5,
    )
    nothing = {"base": [False, False], "candidate": [False, False]}
    assert repeats(tmp_path / "none.jsonl", ["", ""], right, answers) == (nothing, 0)
