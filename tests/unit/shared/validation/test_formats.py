"""Each known format: recognized by its first rows, shown with its mapping, and read as one canonical form."""

from __future__ import annotations

import gzip
import json
import re
from typing import Any

import pytest

from shared.validation.formats import Format, detect, known_names
from shared.validation.intake import ExpectedRows, open_rows
from shared.validation.rows import read_row

QUESTION, ANSWER = {"role": "user", "content": "What is 2 + 2?"}, {"role": "assistant", "content": "4"}
SYSTEM = {"role": "system", "content": "Be brief."}
TOOL = {"type": "function", "function": {"name": "add", "parameters": {}}}
CHAT: dict[str, Any] = {"messages": [QUESTION, ANSWER], "item": {}}
LONG: dict[str, Any] = {"messages": [SYSTEM, QUESTION, ANSWER, QUESTION, ANSWER], "item": {}}
TURNS = [{"from": "human", "value": "What is 2 + 2?"}, {"from": "gpt", "value": "4"}]
OTHER = [{"role": "assistant", "content": "5"}]
CALLED = {"role": "assistant", "tool_calls": [{"id": "1", "type": "function", "function": {"name": "add"}}]}
PREFERENCE = {"input": {"messages": [QUESTION]}, "preferred_output": [ANSWER], "non_preferred_output": OTHER}

# Name: (a row, the format it is recognized as, its mapping, the canonical row).
ROWS: dict[str, tuple[dict[str, Any], str, dict[str, str], dict[str, Any]]] = {
    "prompt/completion": (
        {"prompt": "What is 2 + 2?", "completion": "4", "fault": "pump"},
        "prompt_completion",
        {"prompt": "user", "completion": "assistant"},
        {**CHAT, "item": {"fault": "pump"}},
    ),
    "question and answer with a system text": (
        {"system": "Be brief.", "question": "What is 2 + 2?", "answer": "4"},
        "prompt_completion",
        {"system": "system", "question": "user", "answer": "assistant"},
        {"messages": [SYSTEM, QUESTION, ANSWER], "item": {}},
    ),
    "prompt/completion as dialogues": (
        {"prompt": [SYSTEM, QUESTION], "completion": [ANSWER]},
        "prompt_completion",
        {"prompt": "user", "completion": "assistant"},
        {"messages": [SYSTEM, QUESTION, ANSWER], "item": {}},
    ),
    "Alpaca": (
        {"instruction": "Add.", "input": "2 + 2", "output": "4"},
        "alpaca",
        {"instruction": "user", "input": "user, on a line below", "output": "assistant"},
        {"messages": [{"role": "user", "content": "Add.\n2 + 2"}, ANSWER], "item": {}},
    ),
    "Alpaca with a history": (
        {"system": "Be brief.", "instruction": "What is 2 + 2?", "output": "4", "history": [["What is 2 + 2?", "4"]]},
        "alpaca",
        {
            "system": "system",
            "history": "user and assistant, in turns",
            "instruction": "user",
            "output": "assistant",
        },
        LONG,
    ),
    "ShareGPT": (
        {"conversations": [{"from": "system", "value": "Be brief."}, *TURNS, *TURNS]},
        "sharegpt",
        {"conversations": "messages (human: user, gpt: assistant)"},
        LONG,
    ),
    "ShareGPT with tools as text": (
        {"conversations": TURNS, "tools": json.dumps([TOOL["function"]])},
        "sharegpt",
        {"conversations": "messages (human: user, gpt: assistant)", "tools": "tools"},
        {"messages": [QUESTION, ANSWER], "tools": [TOOL], "item": {}},
    ),
    "plain text": ({"text": "Once."}, "text", {"text": "text"}, {"text": "Once.", "item": {}}),
    "preference": (
        PREFERENCE,
        "preference",
        {"input": "input", "preferred_output": "preferred_output", "non_preferred_output": "non_preferred_output"},
        {**PREFERENCE, "item": {}},
    ),
    "chosen and rejected": (
        {"prompt": "What is 2 + 2?", "chosen": "4", "rejected": "5", "source": "x"},
        "preference",
        {"prompt": "input, as user", "chosen": "preferred_output", "rejected": "non_preferred_output"},
        {**PREFERENCE, "item": {"source": "x"}},
    ),
    "chosen and rejected dialogues": (
        {"chosen": [QUESTION, ANSWER], "rejected": [QUESTION, *OTHER]},
        "preference",
        {"chosen": "preferred_output", "rejected": "non_preferred_output"},
        {**PREFERENCE, "item": {}},
    ),
    "reinforcement": (
        {"messages": [QUESTION], "tools": [TOOL], "target": 4},
        "reinforcement",
        {"messages": "messages", "tools": "tools"},
        {"messages": [QUESTION], "tools": [TOOL], "item": {"target": 4}},
    ),
}


def file_of(row: dict[str, Any], count: int = 60) -> bytes:
    """Rows that differ in a field nobody reads."""
    return b"".join(json.dumps({**row, "number": number}).encode() + b"\n" for number in range(count))


@pytest.mark.parametrize(("row", "name", "mapping", "canonical"), ROWS.values(), ids=ROWS.keys())
def test_a_format_is_recognized_with_its_mapping_and_read_as_its_canonical_form(
    check, row, name, mapping, canonical
) -> None:
    report = check(file_of(row), file_of(row, 1)).result.report
    assert (report.format, report.container, report.mapping) == (name, "jsonl", mapping)
    read, codes = read_row(json.dumps(row).encode(), form(row))
    assert not codes
    assert read is not None
    assert json.loads(read.canonical) == canonical


def form(row: dict[str, Any]) -> Format:
    found = detect([row])
    assert found is not None
    return found


def different(row: dict[str, Any], field: str) -> bytes:
    lines = (json.dumps({**row, field: f"{row[field]} ({number})"}) for number in range(300))
    return "\n".join(lines).encode()


@pytest.mark.parametrize(
    ("row", "field"),
    [
        (ROWS["prompt/completion"][0], "prompt"),
        (ROWS["Alpaca"][0], "instruction"),
        (ROWS["question and answer with a system text"][0], "question"),
    ],
)
def test_rows_of_another_format_pass_and_what_is_written_reads_as_chat_with_the_same_version(check, row, field) -> None:
    first = check(different(row, field))
    assert first.errors == []
    again = check(first.train, first.eval)
    assert (again.result.report.format, again.result.version) == ("chat", first.result.version)


def method(name: str) -> bytes:
    reward = b"{name: target, type: string_check, reference: '{{item.target}}'}"
    judge = b"{name: like, type: string_check, operation: like, reference: '{{item.target}}'}"
    graded = {"reinforcement": b"graders: [" + reward + b"],"}.get(name, b"")
    evaluation = b"evaluation: {graders: [" + judge + b"]}\n" if name == "reinforcement" else b""
    return b"method: {" + graded + b"type: " + name.encode() + b"}\n" + evaluation


@pytest.mark.parametrize(
    ("name", "field", "right"),
    [
        ("preference", "source", "dpo"),
        ("chosen and rejected", "prompt", "dpo"),
        ("reinforcement", "target", "reinforcement"),
    ],
)
def test_rows_of_a_method_pass_with_it_and_are_refused_with_one_code_by_the_others(check, name, field, right) -> None:
    row, read_as, _, _ = ROWS[name]
    if field == "prompt":
        data = different(row, field)
    else:
        data = "\n".join(json.dumps(row).replace("2 + 2", f"2 + {n}") for n in range(300)).encode()
    checked = check(data, None, method(right))
    assert checked.errors == []
    statistics = checked.result.report.statistics
    assert (checked.result.report.format, statistics.train_rows, statistics.eval_rows) == (read_as, 270, 30)
    again = check(checked.train, checked.eval, method(right))
    assert (again.result.version, again.train) == (checked.result.version, checked.train)
    assert "method_data_mismatch" in check(data, None, None).errors
    (mismatch,) = [p for p in check(data).result.report.problems if p.code == "method_data_mismatch"]
    assert mismatch.message.endswith("and method.type is supervised.")


def test_rows_with_answers_are_refused_by_the_methods_that_need_others(check, rows) -> None:
    for name in ("dpo", "reinforcement"):
        assert "method_data_mismatch" in check(rows(60, target=4), rows(20, start=100, target=4), method(name)).errors


def test_prompts_need_what_their_rewards_read_and_have_no_answer_to_be_compared_with(check) -> None:
    prompts = [{"messages": [{"role": "user", "content": f"What is {n} * 7?"}], "note": "x"} for n in range(300)]
    data = "\n".join(map(json.dumps, prompts)).encode()
    assert check(data, None, method("reinforcement")).errors == ["grader_field_missing"]
    rewarded = b"method: {type: reinforcement, graders: [{name: n, type: string_check, reference: '{{item.note}}'}]}"
    checked = check(data, None, rewarded)
    assert checked.errors == ["grader_field_missing"]
    assert "item.answer" in checked.result.report.problems[0].message


def test_plain_text_is_trained_on_and_judged_by_questions(check, rows) -> None:
    data = "\n".join(json.dumps({"text": f"Chapter {n}. Pump {n} holds oil."}) for n in range(60)).encode()
    checked = check(data, rows(20, start=100))
    assert checked.errors == []
    assert (checked.result.report.format, checked.result.report.statistics.train_rows) == ("text", 60)
    assert json.loads(checked.train.splitlines()[0]) == {"text": "Chapter 0. Pump 0 holds oil.", "item": {}}
    assert check(data).errors == ["text_not_evaluable"]
    assert check(data, data).errors[0] == "text_not_evaluable"


BAD = {
    "no completion": ("prompt/completion", {"prompt": "x"}, "missing_field"),
    "a completion that is a list": (
        "prompt/completion",
        {"prompt": "x", "completion": ["a", 1]},
        "data_type",
    ),
    "a pair of other names": ("prompt/completion", {"question": "x", "response": "y"}, "mixed_names"),
    "an empty completion": ("prompt/completion", {"prompt": "x", "completion": ""}, "missing_content"),
    "a chat row": ("prompt/completion", CHAT, "mixed_formats"),
    "an instruction that is a list": ("Alpaca", {"instruction": [1], "output": "x"}, "data_type"),
    "an input that is a number": ("Alpaca", {"instruction": "x", "input": 5, "output": "x"}, "data_type"),
    "a history of texts": ("Alpaca", {"instruction": "x", "output": "x", "history": ["x"]}, "data_type"),
    "turns as text": ("ShareGPT", {"conversations": "x"}, "data_type"),
    "a turn that is a number": ("ShareGPT", {"conversations": [5]}, "data_type"),
    "a speaker that is a list": ("ShareGPT", {"conversations": [{"from": [], "value": "x"}]}, "data_type"),
    "an unknown speaker": (
        "ShareGPT",
        {"conversations": [{"from": "narrator", "value": "x"}, *TURNS]},
        "unrecognized_role",
    ),
    "tools that are no JSON": ("ShareGPT", {"conversations": TURNS, "tools": "{"}, "invalid_tools"),
    "tools nested too deep": (
        "ShareGPT",
        {"conversations": TURNS, "tools": json.dumps([{"name": "f", "x": json.loads("[" * 300 + "]" * 300)}])},
        "invalid_tools",
    ),
    "a NUL in tools": ("ShareGPT", {"conversations": TURNS, "tools": r'[{"name": "\u0000"}]'}, "null_character"),
    "a question last": ("ShareGPT", {"conversations": TURNS[:1]}, "example_missing_assistant_message"),
    "an output that is a question": ("preference", {**PREFERENCE, "preferred_output": [QUESTION]}, "invalid_output"),
    "equal outputs": ("preference", {**PREFERENCE, "preferred_output": OTHER}, "equal_outputs"),
    "an input that is a list": ("preference", {**PREFERENCE, "input": []}, "data_type"),
    "only one output": ("preference", {"input": {}, "preferred_output": []}, "missing_field"),
    "an empty output": ("preference", {**PREFERENCE, "preferred_output": []}, "missing_output"),
    "an output of null": ("preference", {**PREFERENCE, "non_preferred_output": None}, "missing_output"),
    "an output that ends with a tool": (
        "preference",
        {
            **PREFERENCE,
            "input": {"messages": [QUESTION], "tools": [TOOL]},
            "preferred_output": [CALLED, {"role": "tool", "tool_call_id": "1", "content": "4"}],
        },
        "invalid_output",
    ),
    "a prompt that ends with an answer": (
        "preference",
        {**PREFERENCE, "input": {"messages": [QUESTION, ANSWER]}},
        "prompt_not_last",
    ),
    "outputs to different questions": (
        "chosen and rejected",
        {"chosen": [QUESTION, ANSWER], "rejected": [SYSTEM, QUESTION, *OTHER]},
        "outputs_differ_in_question",
    ),
    "an answer last": ("reinforcement", CHAT | {"target": 4}, "prompt_not_last"),
    "text that is blank": ("plain text", {"text": " "}, "missing_content"),
    "text that is a list": ("plain text", {"text": []}, "data_type"),
}


@pytest.mark.parametrize(("kind", "bad", "code"), BAD.values(), ids=BAD.keys())
def test_a_bad_row_of_a_format_has_its_code(kind, bad, code) -> None:
    row, codes = read_row(json.dumps(bad).encode(), form(ROWS[kind][0]))
    assert row is None
    assert {found.partition("|")[0] for found in codes} == {code}


def test_the_recipe_names_the_format_where_the_guess_is_wrong(check) -> None:
    data = b"".join(b'{"text": "t%d", "prompt": "p%d", "completion": "c"}\n' % (n, n) for n in range(300))
    assert check(data).result.report.format == "prompt_completion"
    forced = check(data, None, b"data: {format: text}")
    assert (forced.result.report.format, forced.errors) == ("text", ["text_not_evaluable"])
    wrong = check(data, None, b"data: {format: chat}")
    assert wrong.errors == ["other_format"]


TABLE = b"question;answer;fault\r\n" + b"".join(
    b'"a; ""b""\r\n%d";%s;\r\n' % (number, (b"yes", b"no")[number % 2]) for number in range(300)
)


@pytest.mark.parametrize("data", [TABLE, TABLE.replace(b";", b","), b"\xef\xbb\xbf" + TABLE, gzip.compress(TABLE)])
def test_csv_is_read_with_line_breaks_and_quotes_in_cells_and_without_empty_ones(check, data) -> None:
    checked = check(data, file_name="train.csv.gz" if data.startswith(b"\x1f") else "train.csv")
    report = checked.result.report
    assert (checked.codes, report.container, report.format) == ({}, "csv", "prompt_completion")
    row = json.loads(checked.train.split(b"\n")[0])
    assert row["messages"][0]["content"].replace(",", ";").startswith('a; "b"\r\n')
    assert row["item"] == {}


PAIR = {"question": "What is 2 + 2?", "answer": "4"}
UNIONS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "messages, no pair": ({"messages": [QUESTION, ANSWER], "chosen": None, "rejected": None}, CHAT),
    "messages, no outputs": ({"messages": [QUESTION, ANSWER], "preferred_output": None, "input": None}, CHAT),
    "messages, no conversations": ({"messages": [QUESTION, ANSWER], "conversations": None, "text": None}, CHAT),
    "conversations, no messages": ({"messages": None, "conversations": TURNS}, CHAT),
    "turns of another name, no messages": ({"messages": None, "conversation": TURNS}, CHAT),
    "a pair, no messages": ({"messages": None, "prompt": "What is 2 + 2?", "completion": "4"}, CHAT),
    "a pair, no other pair": ({"prompt": None, "completion": None, **PAIR}, CHAT),
    "a pair, no other question": ({"prompt": None, **PAIR}, CHAT),
    "a pair in capitals, no messages": ({"messages": None, "Prompt": "What is 2 + 2?", "Completion": "4"}, CHAT),
    "Alpaca, no messages": ({"messages": None, "instruction": "What is 2 + 2?", "input": None, "output": "4"}, CHAT),
    "outputs, no messages": (
        {"messages": None, "conversations": None, "prompt": "What is 2 + 2?", "chosen": "4", "rejected": "5"},
        PREFERENCE,
    ),
    "dialogues, no question": (
        {"prompt": None, "chosen": [QUESTION, ANSWER], "rejected": [QUESTION, *OTHER]},
        PREFERENCE,
    ),
    "outputs of one name": (
        {"chosen": None, "rejected": None, **PAIR, "chosen_response": "4", "rejected_response": "5"},
        PREFERENCE,
    ),
}


@pytest.mark.few_cases(3)
@pytest.mark.parametrize(("row", "canonical"), UNIONS.values(), ids=UNIONS)
def test_fields_that_are_null_choose_no_format(check, row, canonical) -> None:
    numbered = [json.loads(json.dumps(row).replace("2 + 2", f"2 + {n}")) for n in range(60)]
    recipe = b"method: {type: dpo}" if canonical is PREFERENCE else None
    checked = check(b"\n".join(json.dumps(one).encode() for one in numbered), recipe=recipe)
    assert checked.errors == []
    written = json.loads((checked.train + checked.eval).splitlines()[0])
    assert set(written) == {*canonical, "item"}
    answered = json.dumps({**written, "item": {}})
    assert re.sub(r"2 \+ \d+", "2 + 2", answered) == json.dumps({**canonical, "item": {}})


def test_a_row_of_another_format_whose_fields_are_null_is_said_to_be_one(check) -> None:
    pair, dialogue = {"prompt": None, "completion": None}, {"messages": None}
    for own, other in (
        ({**dialogue, "prompt": "x", "completion": "y"}, {**pair, "messages": [QUESTION, ANSWER]}),
        ({**pair, "messages": [QUESTION, ANSWER]}, {**dialogue, "prompt": "x", "completion": "y"}),
    ):
        lines = [json.dumps(other if n == 6 else {**own, "n": n}).encode() for n in range(60)]
        assert check(b"\n".join(lines)).codes["mixed_formats"] == (7,)


def test_a_column_may_get_the_name_of_one_that_is_null(check) -> None:
    recipe = b"data: {columns: {frage: user, antwort: assistant}}"
    row = {"frage": "x", "completion": None, "antwort": "y", "prompt": None, "messages": None}
    checked = check(b"\n".join(json.dumps({**row, "frage": f"x {n}"}).encode() for n in range(60)), recipe=recipe)
    assert checked.errors == []
    assert json.loads((checked.train + checked.eval).splitlines()[0])["messages"][1]["content"] == "y"


Q, A, B = "Is it on?", "It runs.", "It stands."
# A row, data.columns, and the question and answer that are read; or what is said of fields that could be either.
CHOICES: list[tuple[dict[str, Any], dict[str, str], tuple[str, ...]]] = [
    ({"question": Q, "answer": A, "output": B}, {}, ("what it learns (output, answer)",)),
    ({"problem": Q, "solution": A, "response": B}, {}, ("what it learns (response, solution)",)),
    ({"question": Q, "Answer": A, "output": B}, {}, ("what it learns (output, Answer)",)),
    ({"Question": Q, "Answer": A, "OUTPUT": B}, {}, ("what it learns (OUTPUT, Answer)",)),
    ({"question": Q, " answer": A, " output": B}, {}, ("what it learns ( output,  answer)",)),
    ({"instruction": Q, "input": "x", "output": A, "target": B}, {}, ("what it learns (output, target)",)),
    ({"instruction": Q, "output": A, "answer": 4}, {}, ("what it learns (output, answer)",)),
    ({"input": Q, "output": A, "target": {"on": 1}}, {}, ("what it learns (output, target)",)),
    ({"user": Q, "input": B, "response": A}, {}, ("what the model reads (user, input)",)),
    ({"prompt": Q, "user": B, "response": A}, {}, ("what the model reads (prompt, user)",)),
    ({"prompt": Q, "PROMPT": B, "response": A}, {}, ("what the model reads (prompt, PROMPT)",)),
    ({"instruction": B, "question": Q, "answer": A}, {}, ("what the model reads (question, instruction)",)),
    ({"instruction": B, "query": Q, "output": A}, {}, ("what the model reads (instruction, query)",)),
    ({"question": B, "prompt": Q, "chosen": A, "rejected": B}, {}, ("what the model reads (prompt, question)",)),
    (
        {"prompt": Q, "query": B, "answer": A, "target": B},
        {},
        ("what the model reads (prompt, query) and what it learns (answer, target)",),
    ),
    # Certain from the row.
    ({"question": Q, "answer": f" {A}\n", "output": A}, {}, (Q, A)),
    ({"question": Q, "answer": A, "output": None}, {}, (Q, A)),
    ({"question": Q, "output": A, "answer": " ", "target": []}, {}, (Q, A)),
    ({"prompt": Q, "user": 17, "response": A}, {}, (Q, A)),
    ({"prompt": Q, "completion": A, "answer": "accept"}, {}, (Q, A)),
    ({"prompt": [SYSTEM, {**QUESTION, "content": Q}], "problem": Q, "answer": A}, {}, ("Be brief.", Q, A)),
    ({"prompt": f"Say it. {Q}", "question": Q, "answer": A}, {}, (f"Say it. {Q}", A)),
    ({"prompt": [QUESTION], "problem": Q, "answer": A}, {}, ("what the model reads (prompt, problem)",)),
    ({"prompt": Q, "user": {"id": "u1"}, "response": A}, {}, (Q, A)),
    ({"instruction": Q, "input": "now", "output": A}, {}, (f"{Q}\nnow", A)),
    ({"question": Q, "input": "now", "answer": A}, {}, (f"{Q}\nnow", A)),
    ({"instruction": Q, "context": "now", "response": A}, {}, (f"{Q}\nnow", A)),
    ({"question": Q, "answers": {"text": [A], "answer_start": [3]}}, {"answers": "assistant"}, (Q, A)),
    # Said by the recipe.
    ({"question": Q, "answer": A, "output": B}, {"answer": "assistant"}, (Q, A)),
    ({"question": Q, "answer": A, "completion": B}, {"answer": "assistant"}, (Q, A)),
    ({"question": Q, "Answer": A, "OUTPUT": B}, {"Answer": "assistant"}, (Q, A)),
    ({"problem": Q, "solution": A, "response": B}, {"solution": "assistant"}, (Q, A)),
    ({"problem": Q, "solution": f"{Q} {A} {A} {A}", "answer": A}, {"answer": "assistant"}, (Q, A)),
    ({"user": "Ann", "input": Q, "response": A}, {"input": "user"}, (Q, A)),
    ({"user": Q, "input": "now", "response": A}, {"user": "user"}, (f"{Q}\nnow", A)),
    ({"prompt": B, "question": Q, "answer": A}, {"question": "user"}, (Q, A)),
    ({"prompt": Q, "question": "now", "answer": A}, {"question": "context"}, (f"{Q}\nnow", A)),
    ({"instruction": B, "output": B, "q": Q, "a": A}, {"q": "user", "a": "assistant"}, (Q, A)),
    ({"conversations": TURNS, "q": Q, "a": A}, {"q": "user", "a": "assistant"}, (Q, A)),
    ({"prompt": B, "chosen": B, "rejected": A, "q": Q, "a": A}, {"q": "user", "a": "assistant"}, (Q, A)),
    ({"frage": Q, "Answer": A}, {"frage": "user"}, (Q, A)),
    ({"a": Q, "b": "", "answer": A}, {"a": "user", "b": "user"}, (Q, A)),
    ({"a": Q, "b": B, "answer": A}, {"a": "user", "b": "user"}, ("prompt",)),
    ({"q": Q, "system": B, "rule": A, "answer": A}, {"q": "user", "rule": "system"}, ("system",)),
]


def chosen_of(row: dict[str, Any], columns: dict[str, str]) -> tuple[str, ...]:
    line = json.dumps(row).encode()
    form = open_rows([line], ExpectedRows(columns=known_names(columns))).form
    assert form is not None
    read, codes = read_row(line, form)
    if read is None:
        (code,) = codes
        name, _, detail = code.partition("|")
        return (detail,) if name in ("ambiguous_field", "column_taken") else (code,)
    return tuple(message["content"] for message in read.document["messages"])


def test_of_fields_that_could_be_one_part_that_is_read_which_is_certain_or_the_recipe_names() -> None:
    wrong = [(row, columns, found) for row, columns, _ in CHOICES if (found := chosen_of(row, columns)) != _]
    assert wrong == []


def test_each_column_that_a_finding_names_can_be_chosen_in_the_recipe_which_ends_it(check) -> None:
    wrong = []
    for row, columns, expected in [choice for choice in CHOICES if choice[2][0].startswith("what") and not choice[1]]:
        for part, names in re.findall(r"what (?:it|the model) (learns|reads) \((.*?)\)", expected[0]):
            for name in names.split(", "):
                chosen = {**columns, name: "assistant" if part == "learns" else "user"}
                line = json.dumps(row).encode()
                form = open_rows([line], ExpectedRows(columns=known_names(chosen))).form
                assert form is not None
                left = [code for code in read_row(line, form)[1] if f"({names})" in code]
                if left or form.mapping.get(name) not in ("user", "assistant", "input, as user"):
                    wrong.append((row, chosen, left))
    assert wrong == []


def test_a_field_that_a_grader_or_a_slice_reads_is_no_answer_to_learn() -> None:
    line = json.dumps({"prompt": Q, "completion": A, "target": B}).encode()
    form = open_rows([line]).form
    assert form is not None
    read, codes = read_row(line, form, frozenset({"target"}))
    assert not codes
    assert read is not None
    assert (read.messages[-1]["content"], read.item) == (A, {"target": B})


LACKING = {
    "a completion": ({"prompt": "x", "completion": None}, "missing_content"),
    "a question": ({"question": None, "answer": "x"}, "missing_content"),
    "a rejected answer": ({"prompt": "x", "chosen": "x", "rejected": None}, "missing_output"),
    "messages": ({"messages": None}, "missing_messages_list"),
}


@pytest.mark.parametrize("alone", [True, False], ids=["every row", "one row"])
@pytest.mark.parametrize(("row", "code"), LACKING.values(), ids=LACKING)
def test_a_null_that_the_format_needs_is_an_error_of_its_row(check, row, code, alone) -> None:
    good = {name: value or ([QUESTION, ANSWER] if name == "messages" else "y") for name, value in row.items()}
    if "chosen" in row:
        good["rejected"] = "z"
    lines = [json.dumps(row if alone or n == 6 else {**good, "n": n}).encode() for n in range(60)]
    recipe = b"method: {type: dpo}" if "chosen" in row else None
    problems = check(b"\n".join(lines), recipe=recipe).result.report.problems
    (found,) = [problem for problem in problems if problem.code == code]
    assert (found.count, found.rows[:1]) == ((60, (1,)) if alone else (1, (7,)))
