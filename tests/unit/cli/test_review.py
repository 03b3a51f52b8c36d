"""`droptune review`: what an expert decides on rows, and the rows that are written after it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cli.common import InputError
from cli.expert_page import ExpertDecision
from cli.review import review_task

Cli = Callable[..., int]

# Blanks, escapes, an exact number and the answer's text in another field: a writer of JSON would change them.
CHAT = (
    b'{"id":  1.50, "messages": [{"role": "user", "content": "F\\u00fcnf?"}, '
    b'{"role": "assistant", "content": "f\\u00fcnf"}], "note": "f\xc3\xbcnf"}'
)
ANSWER = b'{"role":"assistant","content":"b"}'
SHAPES = {
    "chat": CHAT,
    "pair": b'{"question":"Which part?","answer":"bolt","kind":"bolt"}',
    "several answers": json.dumps(
        {
            "messages": [
                {"role": role, "content": text} for role, text in zip(["user", "assistant"] * 2, "abab", strict=True)
            ]
        }
    ).encode(),
    "sharegpt": b'{"conversations":[{"from":"human","value":"Which?"},{"from":"gpt","value":"bolt"}]}',
    "text": b'{"text":"All of it."}',
    "preference": json.dumps(
        {
            "input": {"messages": [{"role": "user", "content": "Which?"}]},
            "preferred_output": [{"role": "assistant", "content": "bolt"}],
            "non_preferred_output": [{"role": "assistant", "content": "nut"}],
        }
    ).encode(),
}
NEW = 'M5 "x" 40\nzwölf \\ 12'


def write(folder: Path, *lines: bytes, name: str = "train.jsonl") -> Path:
    path = folder / name
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    return path


def part(number: int, answer: bytes = b"bolt") -> bytes:
    form = b'{"messages":[{"role":"user","content":"Part %d?"},{"role":"assistant","content":"%b"}]}'
    return form % (number, answer)


def numbered(count: int) -> list[bytes]:
    return [part(number) for number in range(1, count + 1)]


def decide(path: Path, number: int, decision: str, *, reviewer: str = "Ana", **more: Any) -> None:
    task = review_task(path, reviewer, None)
    task.decide(ExpertDecision(row=list(task.rows)[number - 1], decision=decision, **more))


def answer_of(row: Any) -> Any:
    """The last text of a row in any shape: of the preferred answer where there are two."""
    row = row.get("preferred_output", row) if isinstance(row, dict) else row
    for name in ("messages", "conversations", "answer", "content", "value", "text"):
        if isinstance(row, dict) and name in row:
            return answer_of(row[name])
    return answer_of(row[-1]) if isinstance(row, list) else row


@pytest.mark.parametrize("shape", SHAPES)
def test_a_correction_changes_the_answer_and_no_other_byte(droptune: Cli, tmp_path: Path, shape: str) -> None:
    line = SHAPES[shape]
    path, output = write(tmp_path, line), tmp_path / "out.jsonl"
    decide(path, 1, "corrected", answer=NEW)
    assert droptune("review", str(path), "--apply", str(output)) == 0
    written = output.read_bytes().removesuffix(b"\n")
    new = json.dumps(NEW, ensure_ascii=False).encode()
    assert answer_of(json.loads(written)) == NEW
    before, after = written.split(new)
    assert line.startswith(before)
    assert line.endswith(after)
    old = line[len(before) : len(line) - len(after)]
    assert json.loads(old) == answer_of(json.loads(line))


def test_what_is_applied_is_written_as_it_was_and_the_rest_is_counted(
    droptune: Cli, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, output = write(tmp_path, CHAT, *numbered(4), CHAT), tmp_path / "out.jsonl"
    decide(path, 1, "accepted")
    decide(path, 2, "rejected", reason="no such part")
    decide(path, 3, "corrected", answer="nut")
    decide(path, 4, "skipped")
    assert droptune("review", str(path), "--apply", str(output)) == 0
    assert output.read_bytes().splitlines() == [CHAT, part(2, b"nut"), CHAT]
    assert capsys.readouterr().out.splitlines() == [
        f"3 rows written to {output}",
        "2 accepted",
        "1 rejected, left out; the first is row 2",
        "1 corrected",
        "2 unreviewed, left out; the first is row 4",
    ]
    assert droptune("review", str(path), "--apply", str(output), "--keep-unreviewed") == 0
    assert output.read_bytes().splitlines() == [CHAT, part(2, b"nut"), *numbered(4)[2:], CHAT]
    assert capsys.readouterr().out.splitlines()[-1] == "2 unreviewed"


def test_a_row_on_which_reviewers_differ_is_left_out_until_one_of_them_is_named(
    droptune: Cli, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, output = write(tmp_path, *numbered(3)), tmp_path / "out.jsonl"
    decide(path, 1, "accepted")
    decide(path, 1, "accepted", reviewer="Ben")
    decide(path, 2, "corrected", answer="nut")
    decide(path, 2, "corrected", answer="pin", reviewer="Ben")
    assert droptune("review", str(path), "--apply", str(output)) == 0
    assert output.read_bytes().splitlines() == numbered(1)
    assert "1 disputed, left out; the first is row 2" in capsys.readouterr().out
    assert droptune("review", str(path), "--apply", str(output), "--reviewer", "Ben") == 0
    assert output.read_bytes().splitlines() == [*numbered(1), part(2, b"pin")]


def test_a_decision_on_a_row_that_is_gone_is_reported(
    droptune: Cli, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, output = write(tmp_path, *numbered(2)), tmp_path / "out.jsonl"
    decide(path, 1, "accepted")
    decide(path, 2, "accepted")
    # The same content in another order and with other blanks is the same row.
    changed = [dict(reversed(one.items())) for one in json.loads(part(2))["messages"]]
    write(tmp_path, json.dumps({"messages": changed}).encode())
    assert droptune("review", str(path), "--apply", str(output)) == 0
    captured = capsys.readouterr()
    assert captured.out.splitlines()[0] == f"1 rows written to {output}"
    assert captured.err == "1 decisions are for rows that are no longer in train.jsonl\n"


def test_tables_and_arrays_become_json_lines(droptune: Cli, tmp_path: Path) -> None:
    array = tmp_path / "array.json"
    array.write_bytes(b'[\n {\n  "question": "Which?",\n  "answer": "bolt"\n }\n]')
    table = write(tmp_path, b"question,answer", b"Which?,bolt", name="table.csv")
    for path in (array, table):
        decide(path, 1, "corrected", answer="nut")
        assert droptune("review", str(path), "--apply", str(tmp_path / "out.jsonl")) == 0
        [line] = (tmp_path / "out.jsonl").read_bytes().splitlines()
        assert json.loads(line) == {"question": "Which?", "answer": "nut"}


CALLS = b"""{"messages":[{"role":"user","content":"Stock?"},{"role":"assistant","tool_calls":[{"id":"1",
"type":"function","function":{"name":"stock","arguments":"{}"}}]}],"tools":[{"type":"function","function":{"name":"stock"}}]}"""


@pytest.mark.parametrize(
    ("line", "decision", "more"),
    [
        (CHAT, "corrected", {"answer": ""}),
        (CHAT, "corrected", {"answer": "\0"}),
        (CHAT, "corrected", {}),
        (CHAT, "rejected", {}),
        (CHAT, "rejected", {"reason": " \n"}),
        (CHAT, "A", {}),
        (CALLS.replace(b"\n", b""), "corrected", {"answer": "12"}),
    ],
)
def test_a_decision_that_could_not_be_applied_is_refused_at_once(
    tmp_path: Path, line: bytes, decision: str, more: dict[str, str]
) -> None:
    path = write(tmp_path, line)
    with pytest.raises(InputError):
        decide(path, 1, decision, **more)
    assert not (tmp_path / "train.review.jsonl").exists()


def test_a_correction_that_changes_nothing_is_an_acceptance(tmp_path: Path) -> None:
    decide(write(tmp_path, CHAT), 1, "corrected", answer="fünf")
    [written] = (tmp_path / "train.review.jsonl").read_text().splitlines()
    assert {"decision": "accepted", "reviewer": "Ana"}.items() <= json.loads(written).items()
    assert "answer" not in json.loads(written)


def test_a_row_is_shown_with_its_prompt_its_answer_and_its_fields(tmp_path: Path) -> None:
    system = {"role": "system", "content": "Be short."}
    row = {"messages": [system, *json.loads(CHAT)["messages"]], "kind": "x", "level": 3}
    task = review_task(write(tmp_path, json.dumps(row).encode()), "Ana", None)
    assert [task.show(one) for one in task.rows] == [
        {
            "prompt": [{"role": "system", "text": "Be short."}, {"role": "user", "text": "Fünf?"}],
            "answer": "fünf",
            "content": "fünf",
            "fields": {"kind": "x", "level": 3},
        }
    ]
    task = review_task(write(tmp_path, SHAPES["preference"]), "Ana", None)
    [shown] = [task.show(one) for one in task.rows]
    assert shown["answer"] == "bolt"
    assert shown["fields"]["non_preferred_output"] == [{"role": "assistant", "content": "nut"}]


def test_a_file_that_no_run_would_accept_is_refused_with_its_row(
    droptune: Cli, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, CHAT, b'{"messages": []}')
    assert droptune("review", str(path)) == 1
    assert capsys.readouterr().err.startswith("row 2: ")
    assert droptune("review", str(write(tmp_path, CHAT)), "--apply", str(path)) == 1
    assert "write to another file" in capsys.readouterr().err
    assert path.read_bytes() == CHAT + b"\n"


def test_decisions_are_not_written_over(droptune: Cli, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path, CHAT)
    task = review_task(path, "Ana", None)
    task.decide(ExpertDecision(row=next(iter(task.rows)), decision="accepted"))
    before = task.path.read_bytes()
    assert droptune("review", str(path), "--apply", str(task.path)) == 1
    assert "write to another file" in capsys.readouterr().err
    assert task.path.read_bytes() == before


def test_nothing_to_write_is_an_error(droptune: Cli, tmp_path: Path) -> None:
    path = write(tmp_path, *numbered(2))
    assert droptune("review", str(path), "--apply", str(tmp_path / "out.jsonl")) == 1
