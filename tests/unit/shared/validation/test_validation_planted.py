"""5,000 rows with 36 problems of 20 kinds put in by hand: all are found, at their rows and bytes, and nothing else."""

from __future__ import annotations

import json
import random
from typing import Any

from shared.validation.codes import CONTENT_CODES

USER = {"role": "user", "content": "Which part?"}
ANSWER = {"role": "assistant", "content": "a bolt"}
TOOL = {"type": "function", "function": {"name": "find"}}
ROWS = 5000


def chat(*messages, **extra) -> bytes:
    return json.dumps({"messages": list(messages), **extra}).encode()


def call(arguments: object) -> dict[str, Any]:
    function = {"name": "find", "arguments": arguments}
    return {"role": "assistant", "tool_calls": [{"id": "1", "type": "function", "function": function}]}


# Kind -> the lines planted.
PLANTED: dict[str, list[bytes]] = {
    "invalid_json": [b'{"messages": [', b"{'messages': []}", b'{"messages": NaN}'],
    "invalid_utf8": [b'{"messages": "caf\xe9"}', b'{"messages": "\xff"}'],
    "null_character": [b'{"messages": "\0"}', chat({**USER, "content": "\0"}, ANSWER)],
    "duplicate_key": [b'{"messages": [], "messages": []}', rb'{"a": 1, "\u0061": 2}'],
    "number_out_of_range": [chat(USER, ANSWER, size=2**70)],
    "data_type": [b"[]", chat({**USER, "content": 7}, ANSWER)],
    "missing_messages_list": [b"{}", chat()],
    "message_missing_key": [chat({"content": "x"}, ANSWER), chat(USER, {"role": "tool", "content": "1"}, ANSWER)],
    "ignored_field": [
        chat({**USER, "mood": "good"}, ANSWER),
        chat({**USER, "content": "Who?", "weight": 1}, ANSWER),
    ],
    "unrecognized_role": [chat({**USER, "role": "narrator"}, ANSWER), chat({**USER, "role": "critic"}, ANSWER)],
    "missing_content": [chat({**USER, "content": ""}, ANSWER), chat(USER, {"role": "assistant"})],
    "content_not_text": [chat({**USER, "content": [{"type": "text"}]}, ANSWER)],
    "example_missing_assistant_message": [chat(USER), chat(USER, ANSWER, USER)],
    "no_trainable_message": [chat(USER, {**ANSWER, "weight": 0})],
    "invalid_weight": [chat(USER, {**ANSWER, "weight": 2}), chat(USER, {**ANSWER, "weight": "0"})],
    "invalid_tool_calls": [chat(USER, {**USER, "tool_calls": [1]}, ANSWER)],
    "tool_arguments_not_json": [chat(USER, call("{"), tools=[TOOL])],
    "invalid_tools": [chat(USER, ANSWER, tools={})],
    "mixed_formats": [b'{"prompt": "a", "completion": "b"}', chat(USER, target=1)],
    "blank_line": [b"", b"  ", b"\t"],
}


def planted() -> tuple[bytes, dict[str, list[tuple[int, int]]]]:
    """The file, and for each kind line number and byte offset of each place."""
    chance = random.Random(37)
    lines = [
        chat({**USER, "content": f"Which part is {number}?"}, {**ANSWER, "content": f'part: {number} é "x"'})
        for number in range(ROWS)
    ]
    places = iter(sorted(chance.sample(range(ROWS), sum(map(len, PLANTED.values())))))
    kinds = [(kind, line) for kind, many in PLANTED.items() for line in many]
    chance.shuffle(kinds)
    at = {next(places): planting for planting in kinds}
    for place, (_, line) in at.items():
        lines[place] = line
    expected: dict[str, list[tuple[int, int]]] = {}
    offset = 0
    for number, line in enumerate(lines):
        if number in at:
            expected.setdefault(at[number][0], []).append((number + 1, offset))
        offset += len(line) + 1
    return b"\n".join(lines) + b"\n", expected


def test_the_36_problems_of_20_kinds_are_found_and_nothing_else(check, rows) -> None:
    data, expected = planted()
    assert (len(expected), sum(map(len, expected.values()))) == (20, 36)
    report = check(data, rows(20, start=90_000)).result.report
    # That all good rows are alike, the scan of their content says; it is not what was planted.
    problems = [problem for problem in report.problems if problem.code not in CONTENT_CODES]
    found: dict[str, list[tuple[int, int]]] = {}
    for problem in problems:  # one code may be told apart by what it says
        found.setdefault(problem.code, []).extend(zip(problem.rows, problem.offsets, strict=True))
        assert problem.count == len(problem.rows)
    assert {code: sorted(places) for code, places in found.items()} == expected
    assert report.statistics.train_rows == ROWS - 36 + 2  # the unrecognized keys are warnings
    for problem in problems:
        for number, offset in zip(problem.rows, problem.offsets, strict=True):
            assert data[offset:].split(b"\n", 1)[0] == data.split(b"\n")[number - 1]
            assert problem.fix
