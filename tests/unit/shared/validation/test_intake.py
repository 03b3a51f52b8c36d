"""Which container and which format a file has, and what is reported of one that is not known."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Callable
from typing import Any

import pytest

from shared.validation.intake import ExpectedRows, open_rows
from shared.validation.rows import read_row

PAIRS = [{"prompt": f"question {n}", "completion": f"answer {n}"} for n in range(60)]


def json_lines(rows: list[dict[str, Any]]) -> bytes:
    return b"\n".join(json.dumps(row).encode() for row in rows)


def renamed(**names: str) -> list[dict[str, Any]]:
    """The pairs with other names, in the order given."""
    return [{name: row[known] for name, known in names.items()} for row in PAIRS]


CONTAINERS = {
    "JSON Lines": json_lines(PAIRS),
    "an array on one line": json.dumps(PAIRS).encode(),
    "a pretty array": json.dumps(PAIRS, indent=2).encode(),
    "an array with a row a line": b"[\n" + b",\n".join(json.dumps(row).encode() for row in PAIRS) + b"\n]\n",
    "pretty objects": b"\n".join(json.dumps(row, indent=2).encode() for row in PAIRS),
    "an array behind a mark": b"\xef\xbb\xbf" + json.dumps(PAIRS).encode(),
    "a packed array": gzip.compress(json.dumps(PAIRS).encode()),
    "an array, CRLF": json.dumps(PAIRS, indent=2).replace("\n", "\r\n").encode(),
}


@pytest.mark.few_cases(3)
@pytest.mark.parametrize("name", ["train.json", "train.jsonl", "TRAIN.JSON", "train.ndjson", "train.txt", "data"])
@pytest.mark.parametrize("data", CONTAINERS.values(), ids=CONTAINERS)
def test_json_is_read_by_its_content_with_the_same_version_whatever_its_name(check, rows, data, name) -> None:
    expected = check(json_lines(PAIRS), rows(20, start=100)).result.version
    checked = check(data, rows(20, start=100), file_name=name)
    assert (checked.errors, checked.result.version) == ([], expected)


def test_a_bad_row_of_an_array_is_reported_by_its_number_and_offset(check, rows) -> None:
    data = json.dumps([*PAIRS[:30], {"prompt": "x"}, *PAIRS[30:]], indent=1).encode()
    (problem,) = check(data, rows(20, start=100)).result.report.problems
    assert (problem.code, problem.rows) == ("missing_field", (31,))
    assert data[problem.offsets[0] :].startswith(b'{\n  "prompt": "x"\n }')
    assert problem.message == "The row lacks completion, which its format needs."


UNKNOWN = {
    "JSON Lines": (json_lines(renamed(frage="prompt", antwort="completion")), "frage, antwort"),
    "an array": (json.dumps(renamed(frage="prompt", antwort="completion")).encode(), "frage, antwort"),
    "a table": (b"Frage;Antwort\n" + b"".join(b"f %d;a %d\n" % (n, n) for n in range(60)), "Frage, Antwort"),
    "Gemini": (json_lines([{"contents": [{"parts": [{"text": "x"}]}]}] * 60), "contents"),
    "seed tasks": (json_lines([{"id": n, "name": "x", "instances": []} for n in range(60)]), "id, name, instances"),
    "a table without a header": (
        b"".join(b"What is part number %d?,It is bolt number %d.\n" % (n, n) for n in range(60)),
        "fields whose names are not shown",
    ),
}


@pytest.mark.parametrize("name", ["train.csv", "train.jsonl"])
@pytest.mark.parametrize(("data", "fields"), UNKNOWN.values(), ids=UNKNOWN)
def test_an_unknown_format_is_one_finding_with_the_fields_found_and_the_formats_known(
    check, data, fields, name
) -> None:
    checked = check(data, file_name=name)
    (problem,) = checked.result.report.problems
    assert (problem.code, problem.count) == ("unknown_format", 1)
    assert problem.message.endswith(f"the fields found are {fields}.")
    assert "data.columns" in problem.fix
    assert "conversations" in problem.fix


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"custom_id": "a", "body": {"messages": [{"role": "user", "content": "q"}]}}, "by custom_id"),
        ({"message_tree_id": "a", "prompt": {"role": "prompter", "text": "q", "replies": []}}, "recurse(.replies"),
    ],
)
def test_rows_of_a_known_shape_that_is_not_read_say_how_to_convert_them(check, row, words) -> None:
    (problem,) = check("\n".join([json.dumps(row)] * 60).encode()).result.report.problems
    assert problem.code == "unknown_format"
    assert words in problem.fix


@pytest.mark.parametrize("columns", ["{PROMPT: user}", "{Prompt: user}"])
def test_of_two_spellings_of_one_field_the_recipe_names_one_and_the_other_is_reported(check, columns) -> None:
    data = b"".join(b'{"Prompt": "Q%d", "PROMPT": "q%d", "Answer": "a%d"}\n' % (n, n, n) for n in range(60))
    assert check(data).errors == ["ambiguous_field"]
    checked = check(data, recipe=b"evaluation: {gate: {min_rows: 2}}\ndata: {columns: %s}" % columns.encode())
    assert checked.errors == []
    other = "Prompt" if "PROMPT" in columns else "PROMPT"
    assert [message.message for message in checked.result.report.problems if message.code == "ignored_field"] == [
        f"Nothing reads {other}: neither learned nor used by a grader or a slice."
    ]
    assert (b'"Q1"}' if other == "PROMPT" else b'"q1"}') in checked.train + checked.eval


QUESTIONS, REPLIES = [row["prompt"] for row in PAIRS], [row["completion"] for row in PAIRS]
CELLS = [*map(list, zip(QUESTIONS, REPLIES, strict=True))]
BY_COLUMNS: dict[str, Any] = {
    "columns of numbered rows": {"prompt": dict(enumerate(QUESTIONS)), "completion": dict(enumerate(REPLIES))},
    "numbered rows": dict(enumerate(PAIRS)),
    "split": {"columns": ["prompt", "completion"], "index": [*range(60)], "data": CELLS},
    "an index first": {"index": [*range(60)], "columns": ["a", "b"], "data": CELLS},
    "lists": {"prompt": QUESTIONS, "completion": REPLIES},
}


@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize("table", BY_COLUMNS.values(), ids=BY_COLUMNS)
def test_a_table_that_is_one_object_is_one_finding(check, table, indent) -> None:
    report = check(json.dumps(table, indent=indent).encode()).result.report
    assert [(one.code, one.count) for one in report.problems] == [("table_by_columns", 1)]


HEADERS = {
    "of a column that is read": ('prompt,"completion\nas text"', "{completion as text: assistant}"),
    "of the first column": ('"prompt\r\n(question)",completion', "{prompt (question): user}"),
    "of a column that is not read": ('prompt,completion,"note\n\nof the editor"', "{}"),
    "with other delimiters": ('prompt;completion;"a / b\nc"', "{}"),
}


@pytest.mark.parametrize("sep", ["", "sep=;\n"])
@pytest.mark.parametrize(("header", "columns"), HEADERS.values(), ids=HEADERS)
def test_a_header_may_have_line_breaks_in_quotes(check, rows, header: str, columns: str, sep: str) -> None:
    delimiter = ";" if sep or ";" in header else ","
    header = header.replace(",", delimiter) if sep else header
    end = delimiter if header.count(delimiter) == 2 else ""  # an empty cell
    data = sep + header + "".join(f"\n{row['prompt']}{delimiter}{row['completion']}{end}" for row in PAIRS)
    checked = check(data.encode(), rows(20, start=100), f"data: {{columns: {columns}}}".encode())
    assert (checked.errors, checked.result.report.container) == ([], "csv")
    assert json.loads(checked.train.splitlines()[5])["messages"][1]["content"] == "answer 5"


def test_a_header_with_a_line_break_that_no_format_knows_is_named_in_the_finding(check) -> None:
    data = '"my\nprompt",reply\n' + "\n".join(f"{row['prompt']},{row['completion']}" for row in PAIRS)
    (problem,) = check(data.encode()).result.report.problems
    assert (problem.code, "are my prompt, reply." in problem.message) == ("unknown_format", True)


KNOWN = [("prompt", "completion"), ("instruction", "output"), ("question", "answer"), ("chosen", "rejected")]
SLIPS: dict[str, Callable[[str], str]] = {
    "a letter left out": lambda name: name[:2] + name[3:],
    "a letter twice": lambda name: name[:3] + name[2:],
    "two letters swapped": lambda name: name[:2] + name[3] + name[2] + name[4:],
    "another letter": lambda name: name[:3] + "x" + name[4:],
    "capitals": lambda name: (name[:2] + name[3:]).title(),
}


@pytest.mark.few_cases(3)
@pytest.mark.parametrize("slip", SLIPS.values(), ids=SLIPS)
@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize("names", KNOWN)
def test_a_misspelled_field_is_one_finding_that_names_the_known_one(check, names, place, slip) -> None:
    wrong = slip(names[place])
    others = {"prompt": "question {}"} if "chosen" in names else {"input": "of hall {}"}
    fields = {**others, **dict(zip(names, ("question {}", "answer {}"), strict=True))}
    keys = {name: wrong if name == names[place] else name for name in fields}
    rows = [{keys[name]: text.format(n) for name, text in fields.items()} for n in range(60)]
    (problem,) = check(json_lines(rows)).result.report.problems
    assert problem.code == "unknown_format"
    assert problem.fix.startswith(f"Rename {wrong} to {names[place]}, if that is meant.")


@pytest.mark.parametrize("extra", ["test", "score", "contextual", "prompts_file", "userid", "tool", "problems"])
def test_a_field_whose_name_is_near_a_known_one_does_not_change_a_format_that_is_complete(check, rows, extra) -> None:
    checked = check(json_lines([{**row, extra: "x"} for row in PAIRS]), rows(20, start=100))
    assert (checked.errors, checked.result.report.format) == ([], "prompt_completion")


# Fields of logs whose names are near known ones.
NEAR = {
    **dict.fromkeys(("conversation_id", "message_id", "prompt_id", "response_id", "completionId"), 7),
    "message": "ok",
    "resolution": "1080p",
    "responder": "Ann",
    "Complexion": "a",
}
COMPLETE = [("question", "answer"), ("instruction", "output"), ("user", "assistant"), ("input", "output")]


@pytest.mark.few_cases(3)
@pytest.mark.parametrize("prompts", [False, True])
@pytest.mark.parametrize("names", COMPLETE)
@pytest.mark.parametrize(("extra", "value"), NEAR.items())
def test_no_field_of_a_log_changes_a_format_that_is_complete(names, extra, value, prompts) -> None:
    row = {extra: value, **dict(zip(names, ("Is it on?", "yes"), strict=True))}
    intake = open_rows([json.dumps(row).encode()], ExpectedRows(prompts=prompts))
    assert intake.form is not None
    assert (
        intake.form.mapping == {names[0]: "user"} if prompts else dict(zip(names, ("user", "assistant"), strict=True))
    )


def test_a_name_is_not_said_to_stand_for_a_dialogue_that_its_values_cannot_be() -> None:
    for value, expected in (("ok", {}), (7, {}), ([{"role": "user"}], {"message": "messages"})):
        row = {"message": value, "conversation_id": 7, "antwort": "x"}
        assert open_rows([json_lines([row, row])]).misspelled == expected


def test_reasoning_beside_a_pair_is_named_as_such(check) -> None:
    data = [{"Question": row["prompt"], "Complex_CoT": "Hm, so.", "Response": row["completion"]} for row in PAIRS]
    assert check(json_lines(data)).errors == ["reasoning_not_read"]


CHATS = {
    "Guanaco": "### Human: Is {n} on?### Assistant: yes",
    "Alpaca": "### Instruction:\nIs {n} on?\n\n### Response:\nyes",
    "ChatML": "<|im_start|>user\nIs {n} on?<|im_end|>\n<|im_start|>assistant\nyes<|im_end|>",
    "Llama 2": "<s>[INST] Is {n} on? [/INST] yes </s>",
    "Llama 3": "<|start_header_id|>user<|end_header_id|>\n\nIs {n} on?<|eot_id|>",
    "Vicuna": "A chat. USER: Is {n} on? ASSISTANT: yes",
    "LangChain": "Human: Is {n} on?\nAI: yes",
}


@pytest.mark.few_cases(3)
@pytest.mark.parametrize("evaluated", [False, True])
@pytest.mark.parametrize("text", CHATS.values(), ids=CHATS)
def test_texts_with_the_markers_of_a_chat_are_one_finding_that_names_them(check, rows, text, evaluated) -> None:
    texts = [text.format(n=n) for n in range(60)]
    table = io.StringIO()
    csv.writer(table).writerows([["text"], *([text] for text in texts)])
    for data in (json_lines([{"text": text} for text in texts]), table.getvalue().encode()):
        checked = check(data, rows(20, start=100) if evaluated else None)
        assert list(checked.codes) == ["chat_as_text"]
        assert "messages" in checked.result.report.problems[0].fix


def test_texts_that_are_meant_as_they_are_or_only_quote_a_marker_are_no_chat(check, rows) -> None:
    chats, held_out = json_lines([{"text": CHATS["Guanaco"].format(n=n)} for n in range(60)]), rows(20, start=100)
    assert check(chats, held_out, b"data: {format: text}").errors == []
    texts = [f"Ask the assistant: hall {n} is open. {'[/INST]' * (n % 3 == 0)}" for n in range(60)]
    assert "chat_as_text" not in check(json_lines([{"text": text} for text in texts]), held_out).codes


COLUMNS = {
    "two columns": (renamed(frage="prompt", antwort="completion"), "{frage: user, antwort: assistant}"),
    "names of another format, the other way round": (
        renamed(answer="prompt", question="completion"),
        "{answer: user, question: assistant}",
    ),
    "beside a field that has such a name": (
        [{**row, "text": "x"} for row in renamed(frage="prompt", antwort="completion")],
        "{frage: user, antwort: assistant}",
    ),
    "messages": (
        [
            {
                "dialog": [
                    {"role": "user", "content": row["prompt"]},
                    {"role": "assistant", "content": row["completion"]},
                ]
            }
            for row in PAIRS
        ],
        "{dialog: messages}",
    ),
}


@pytest.mark.parametrize(("data", "columns"), COLUMNS.values(), ids=COLUMNS)
def test_the_recipe_says_what_the_fields_are(check, rows, data, columns) -> None:
    checked = check(json_lines(data), rows(20, start=100), f"data: {{columns: {columns}}}".encode())
    assert checked.errors == []
    messages = json.loads(checked.train.splitlines()[5])["messages"]
    assert [message["content"] for message in messages] == ["question 5", "answer 5"]


def test_a_system_column_beside_messages_is_read_though_the_messages_are_plain(check, rows) -> None:
    data = [
        {"messages": [{"role": "user", "content": f"q {n}"}, {"role": "assistant", "content": f"a {n}"}], "rule": "R"}
        for n in range(60)
    ]
    checked = check(json_lines(data), rows(20, start=100), b"data: {columns: {rule: system}}")
    assert checked.errors == []
    assert json.loads(checked.train.splitlines()[0])["messages"][0] == {"role": "system", "content": "R"}
    assert checked.result.report.mapping["rule"] == "system"


TEXTS_OF_MESSAGES = {
    "JSON": (json.dumps([{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]), ""),
    "JSON of turns": (json.dumps([{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]), ""),
    "JSON, pretty": (
        json.dumps([{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}], indent=1),
        "",
    ),
    "Python": (str([{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]), "data_type"),
    "prose": ("Is it on? It is.", "data_type"),
    "one message": (json.dumps({"role": "user", "content": "q"}), "data_type"),
    "cut JSON": ('[{"role": "user"', "data_type"),
    "a transcript": ("User: q\nAssistant: a", "data_type"),
}


def test_a_text_column_of_messages_is_read_if_it_is_their_json_and_is_else_named() -> None:
    wrong = []
    for kind, (text, expected) in TEXTS_OF_MESSAGES.items():
        for name, columns in (("dialog", {"dialog": "messages"}), ("messages", {})):
            form = open_rows([json.dumps({name: text}).encode()], ExpectedRows(columns=columns)).form
            assert form is not None
            row, codes = read_row(json.dumps({name: text}).encode(), form)
            detail = f"data_type|{name} is text, not a list of turns or its JSON"
            if (row is None) != bool(expected) or set(codes) != {"data_type": {detail}, "": set()}[expected]:
                wrong.append((kind, name, codes))
    assert wrong == []


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"frage": 1, "antwort": "x"}, "A part of the row has the wrong type: frage is a number, not text."),
        ({"frage": "x"}, "The row lacks antwort, which its format needs."),
    ],
)
def test_a_field_is_called_in_errors_as_in_the_file(check, rows, row, message) -> None:
    data = [*renamed(frage="prompt", antwort="completion"), row]
    checked = check(json_lines(data), rows(20, start=100), b"data: {columns: {frage: user, antwort: assistant}}")
    assert [one.message for one in checked.result.report.problems] == [message]


def test_a_column_that_no_row_has_is_one_finding(check) -> None:
    checked = check(json_lines(PAIRS), None, b"data: {columns: {frage: user}}")
    (problem,) = checked.result.report.problems
    assert problem.code == "column_missing"
    assert problem.message == "data.columns names frage; the fields found are prompt, completion."


def test_a_column_that_is_given_a_name_that_is_taken_is_refused(check, rows) -> None:
    data = [{**row, "system": "y", "rule": "x"} for row in PAIRS]
    checked = check(json_lines(data), rows(20, start=100), b"data: {columns: {rule: system}}")
    assert checked.errors == ["column_taken"]
    (problem,) = [one for one in checked.result.report.problems if one.severity == "error"]
    assert problem.message.endswith("already: system.")
    corrected = check(json_lines(data), rows(20, start=100), b"data: {columns: {rule: system, system: context}}")
    assert corrected.errors == []


@pytest.mark.parametrize("names", [("Prompt", "Completion"), ("PROMPT", "Response"), (" question ", "Answer")])
def test_known_names_are_known_in_any_case(check, rows, names) -> None:
    data = renamed(**dict(zip(names, ("prompt", "completion"), strict=True)))
    checked = check(json_lines(data), rows(20, start=100))
    assert checked.errors == []
    assert list(checked.result.report.mapping) == list(names)


NO_TEXT = {
    "zeros": (b"\0\0\0\0", "binary data"),
    "a picture": (b"\x89PNG\r\n", "an image"),
    "packed twice": (gzip.compress(gzip.compress(b"x")), "compressed twice"),
}


@pytest.mark.parametrize(("data", "what"), NO_TEXT.values(), ids=NO_TEXT)
def test_a_file_that_is_no_text_is_one_finding_that_says_what_it_is(check, data, what) -> None:
    (problem,) = check(data).result.report.problems
    assert (problem.code, problem.message) == ("not_utf8", f"The file is not UTF-8 text: it is {what}.")


def test_prose_is_one_finding(check) -> None:
    checked = check(
        b"The press stands in hall 3.\nIt runs, mostly, at night.\nTurn it off.\n" * 50, file_name="notes.txt"
    )
    assert list(checked.codes) == ["no_rows"]


def test_a_table_in_markdown_is_no_table(check) -> None:
    table = b"| prompt | completion |\n|---|---|\n" + b"".join(b"| q %d | a %d |\n" % (n, n) for n in range(60))
    assert list(check(table).codes) == ["no_rows"]
    assert list(check(table, file_name="train.csv").codes) == ["unknown_format"]


def test_a_text_beside_a_pair_is_known_in_any_case(check) -> None:
    data = [
        {"question": f"Is press {n} on?", "Context": f"Press {n} runs.", "System": "Be brief.", "answer": f"yes, {n}"}
        for n in range(300)
    ]
    checked = check(json_lines(data))
    assert checked.errors == []
    assert json.loads(checked.train.splitlines()[0])["messages"][0] == {"role": "system", "content": "Be brief."}
    assert all(b"runs." in row for row in checked.train.splitlines())
    assert checked.result.report.mapping["Context"] == "user, on a line below"


def test_a_field_of_a_chat_row_that_no_format_learns_keeps_its_name(check, rows) -> None:
    checked = check(rows(60, Context="portal"), rows(20, start=100))
    assert json.loads(checked.train.splitlines()[0])["item"] == {"Context": "portal"}


def test_pairs_of_mixed_names_are_called_so(check, rows) -> None:
    data = [{"question": f"x{n}", "answer": f"y{n}"} for n in range(60)]
    data += [{"prompt": f"x{n}", "response": f"y{n}"} for n in range(60, 100)]
    checked = check(json_lines(data), rows(20, start=100))
    found = checked.result.report.problems[0]
    assert (found.code, found.count) == ("mixed_names", 40)
    assert "it has prompt and response, and most rows have question and answer" in found.message


LABELED = {
    "text and label": ({"text": "x", "label": "ok"}, "label", "{text: user, label: assistant}"),
    "numbers": ({"text": "x", "label": 1}, "label", "{text: user, label: assistant}"),
    "booleans": ({"text": "x", "label": True}, "label", "{text: user, label: assistant}"),
    "capitals": ({"Text": "x", "Category": "ok"}, "Category", "{Text: user, Category: assistant}"),
    "a number and its word": (
        {"text": "x", "label": 1, "label_text": "ok"},
        "label_text and label",
        "{text: user, label_text: assistant}",
    ),
    "an intent": ({"id": 1, "text": "x", "intent": "ok"}, "intent", "{text: user, intent: assistant}"),
}


@pytest.mark.few_cases(3)
@pytest.mark.parametrize(("row", "names", "columns"), LABELED.values(), ids=LABELED)
def test_texts_with_labels_are_told_how_to_be_questions_with_answers(check, rows, row, names, columns) -> None:
    text = next(name for name in row if name.lower() == "text")
    data = json_lines([{**row, text: f"The press {n} leaks."} for n in range(200)])
    for evaluation, code in ((None, "text_with_labels"), (rows(20, start=100), "labels_not_learned")):
        checked = check(data, evaluation)
        (found,) = [one for one in checked.result.report.problems if one.code in ("text_with_labels", code)]
        assert (found.code, f"{names} beside each" in found.message) == (code, True)
        assert f"data: {{columns: {columns}}}" in found.fix
        assert checked.errors == (["text_with_labels"] if evaluation is None else [])
    read = check(data, rows(20, start=100), f"data: {{columns: {columns}}}".encode())
    assert read.errors == []
    assert read.result.report.format == "prompt_completion"


# Beside a text: what is there, and what the model could answer with.
PRODIGY: dict[str, tuple[dict[str, Any], str]] = {
    "accepted": ({"answer": "accept"}, ""),
    "rejected": ({"answer": "Reject"}, ""),
    "with a label": ({"label": "leak", "answer": "accept"}, "{text: user, label: assistant}"),
    "another answer": ({"answer": "accept the part"}, "{text: user, answer: assistant}"),
    "no word": ({"answer": [1]}, "{text: user, answer: assistant}"),
}


@pytest.mark.parametrize(("beside", "columns"), PRODIGY.values(), ids=PRODIGY)
def test_a_verdict_of_prodigy_beside_a_text_is_no_answer_to_learn(check, beside, columns) -> None:
    checked = check(json_lines([{"text": f"The press {n} leaks.", **beside} for n in range(60)]))
    found = next(one for one in checked.result.report.problems if one.severity == "error")
    assert found.code == ("text_with_labels" if columns else "text_not_evaluable")
    assert f"{{columns: {columns}}}" in found.fix or not columns


def test_text_that_the_recipe_calls_text_is_not_asked_about(check, rows) -> None:
    data = json_lines([{"text": f"The press {n} leaks.", "label": "a"} for n in range(200)])
    checked = check(data, rows(20, start=100), b"data: {format: text}")
    assert "labels_not_learned" not in checked.codes


@pytest.mark.parametrize("beside", [{}, {"problem": None}, {"question": None, "answer": None}])
@pytest.mark.parametrize("prompts", [False, True])
def test_a_field_that_holds_the_dialogue_is_not_taken_for_a_misspelled_one(beside, prompts) -> None:
    turns = [{"role": "user", "parts": [{"text": "q"}]}, {"role": "model", "parts": [{"text": "a"}]}]
    form = open_rows([json.dumps({"contents": turns, **beside}).encode()], ExpectedRows(prompts=prompts)).form
    assert form is not None
    assert form.name == "sharegpt"
