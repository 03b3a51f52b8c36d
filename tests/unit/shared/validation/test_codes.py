"""What a finding says is to be done ends it: each remedy is applied to the input, and the finding goes."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import Any

import pytest

from shared.validation.formats import FOREIGN, known_names
from shared.validation.intake import ExpectedRows, open_rows
from shared.validation.rows import read_row
from shared.validation.validator import ALL_CODES

Row = dict[str, Any]
USER, ANSWER = {"role": "user", "content": "Which part?"}, {"role": "assistant", "content": "a bolt"}
PARAMETERS = {"type": "object", "properties": {"hall": {"type": "integer"}}, "required": ["hall"]}
TOOL = {"type": "function", "function": {"name": "find", "parameters": PARAMETERS}}
SQUAD = {"question": "Which part?", "answers": {"text": ["a bolt"], "answer_start": [2]}}
PAIR = {"prompt": "Which part?", "chosen": "a bolt", "rejected": "a nut"}


def chat(*messages: Row, **more: Any) -> Row:
    return {"messages": list(messages), **more}


def call(arguments: Any = '{"hall": 3}', name: str = "find", identifier: str | None = "1", **more: Any) -> Row:
    made = {"type": "function", "function": {"name": name, "arguments": arguments}}
    calls = [made if identifier is None else {"id": identifier, **made}]
    return {"role": "assistant", "content": "", "tool_calls": calls, **more}


def result(identifier: str = "1", **more: Any) -> Row:
    return {"role": "tool", "tool_call_id": identifier, "content": "on", **more}


def called(*messages: Row) -> Row:
    return chat(USER, *messages, tools=[TOOL])


# Code, the words of its remedy that are followed, the row before and the row after.
REMEDIES: list[tuple[str, str, Row, Row]] = [
    ("data_type", "Write texts as text", chat({**USER, "content": 7}, ANSWER), chat({**USER, "content": "7"}, ANSWER)),
    (
        "data_type",
        "or its JSON (json.dumps",
        {"messages": str([USER, ANSWER])},
        {"messages": json.dumps([USER, ANSWER])},
    ),
    ("number_out_of_range", "Write it as text", chat(USER, ANSWER, size=2**70), chat(USER, ANSWER, size=str(2**70))),
    (
        "system_twice",
        "Keep one",
        {"system": "a", "system_prompt": "b", "prompt": "q", "answer": "x"},
        {"system": "a", "prompt": "q", "answer": "x"},
    ),
    ("field_twice", "Keep one", chat(USER, ANSWER, item={"a": 1}, a=2), chat(USER, ANSWER, item={"a": 1})),
    (
        "tools_twice",
        "Keep one of tools and functions",
        chat(USER, ANSWER, tools=[TOOL], functions=[TOOL]),
        chat(USER, ANSWER, tools=[TOOL]),
    ),
    (
        "passage_not_read",
        "Put it into the system or user message",
        {"prompt": [USER, ANSWER], "context": "long", "completion": [ANSWER]},
        chat({"role": "system", "content": "long"}, USER, ANSWER),
    ),
    ("media_not_read", "remove the field", chat(USER, ANSWER, images=["x.png"]), chat(USER, ANSWER)),
    ("missing_messages_list", "{role, content} objects under `messages`", {"messages": []}, chat(USER, ANSWER)),
    (
        "message_missing_key",
        "its place right after it",
        called(call(), {"role": "tool", "name": "look", "content": "on"}, ANSWER),
        called(call(), {"role": "tool", "content": "on"}, ANSWER),
    ),
    (
        "unrecognized_role",
        "Use system, developer, user, assistant or tool",
        chat({**USER, "role": "critic"}, ANSWER),
        chat({**USER, "role": "developer"}, USER, ANSWER),
    ),
    ("missing_content", "remove the message", chat(USER, ANSWER, {**USER, "content": " "}, ANSWER), chat(USER, ANSWER)),
    (
        "refusal_not_read",
        "Write the refusal into the content",
        chat(USER, {"role": "assistant", "content": None, "refusal": "No."}),
        chat(USER, {"role": "assistant", "content": "No."}),
    ),
    ("example_missing_assistant_message", "End `messages` with the answer", chat(USER), chat(USER, ANSWER)),
    ("no_question", "Add the question as a message of the user", chat(ANSWER), chat(USER, ANSWER)),
    ("no_question", '{"text": "..."}', chat(ANSWER), {"text": "a bolt"}),
    ("no_trainable_message", "leave the weight out", chat(USER, {**ANSWER, "weight": 0}), chat(USER, ANSWER)),
    ("invalid_weight", "Use 0, 1", chat(USER, {**ANSWER, "weight": 2}), chat(USER, {**ANSWER, "weight": 1})),
    (
        "weight_not_read",
        "weight 0, or remove the key",
        chat(USER, ANSWER, USER, {**ANSWER, "masked": True}),
        chat(USER, {**ANSWER, "weight": 0}, USER, ANSWER),
    ),
    ("weight_of_other_role", "Remove the mark", chat({**USER, "train": True}, ANSWER), chat(USER, ANSWER)),
    (
        "reasoning_not_read",
        "put it into the content",
        chat(USER, {**ANSWER, "reasoning_content": "It is long."}),
        chat(USER, {**ANSWER, "content": "It is long. a bolt"}),
    ),
    ("missing_output", "Give both answers", {**PAIR, "rejected": ""}, PAIR),
    ("missing_output", "preferred_output (or chosen)", {**PAIR, "chosen": ""}, PAIR),
    (
        "invalid_output",
        "only the answer into each output",
        {"input": chat(USER), "preferred_output": [USER, ANSWER], "non_preferred_output": [call()]},
        {"input": chat(USER), "preferred_output": [ANSWER], "non_preferred_output": [call()]},
    ),
    (
        "outputs_differ_in_question",
        "equal up to the last message of the user",
        {"chosen": [USER, ANSWER], "rejected": [{**USER, "content": "q"}, {**ANSWER, "content": "x"}]},
        {"chosen": [USER, ANSWER], "rejected": [USER, {**ANSWER, "content": "x"}]},
    ),
    (
        "invalid_tool_calls",
        "Write each call of the assistant in that form",
        called({**ANSWER, "tool_calls": ["find"]}),
        called(call()),
    ),
    ("tool_arguments_not_json", "Write an object", called(call("hall 3")), called(call({"hall": 3}))),
    ("tool_arguments_not_json", "or its JSON as text", called(call("hall 3")), called(call('{"hall": 3}'))),
    ("tool_arguments_violate_schema", "Correct names, types", called(call('{"hall": "x"}')), called(call())),
    (
        "tool_arguments_violate_schema",
        "give the message weight 0",
        called(call("{}"), result(), ANSWER),
        called(call("{}", weight=0), result(), ANSWER),
    ),
    (
        "tool_call_without_id",
        "Give each call an id",
        called(call(identifier=None), result(), ANSWER),
        called(call(), result(), ANSWER),
    ),
    ("tool_call_unanswered", "Add a tool message", called(call(), ANSWER), called(call(), result(), ANSWER)),
    ("tool_call_unanswered", "or end the dialogue with the call", called(call(), ANSWER), called(call())),
    (
        "tool_result_late",
        "right after it",
        called(call(), USER, result(), ANSWER),
        called(call(), result(), USER, ANSWER),
    ),
    (
        "tool_result_twice",
        "Keep one tool message",
        called(call(), result(), result(), ANSWER),
        called(call(), result(), ANSWER),
    ),
    (
        "tool_message_orphan",
        "correct `tool_call_id`",
        called(call(), result("2"), ANSWER),
        called(call(), result(), ANSWER),
    ),
    (
        "tool_result_name",
        "leave out the name",
        called(call(), result(name="look"), ANSWER),
        called(call(), result(), ANSWER),
    ),
    ("tool_unknown", "correct the name", called(call(name="look")), called(call())),
    (
        "tool_unknown",
        "give the message weight 0",
        called(call(name="look"), result(), ANSWER),
        called(call(name="look", weight=0), result(), ANSWER),
    ),
    ("tools_missing", "Add the definitions as `tools`", chat(USER, call()), called(call())),
    (
        "tool_defined_twice",
        "Keep one",
        chat(USER, ANSWER, tools=[TOOL, {"type": "function", "function": {"name": "find"}}]),
        chat(USER, ANSWER, tools=[TOOL]),
    ),
    (
        "invalid_tools",
        "as OpenAI's chat format does",
        chat(USER, ANSWER, tools={"find": {}}),
        chat(USER, ANSWER, tools=[TOOL]),
    ),
    ("missing_field", "Add the field", {"prompt": "q", "chosen": "x"}, PAIR),
]


def codes_of(row: Row, columns: dict[str, str] | None = None, other: Row | None = None) -> set[str]:
    """What is said of a row. `other`: the first row of its file."""
    expected = ExpectedRows(columns=known_names(columns or {}))
    form = open_rows([json.dumps(other or row).encode()], expected).form
    if form is None:
        return {"unknown_format"}
    return {code.partition("|")[0] for code in read_row(json.dumps(row).encode(), form)[1]}


def test_each_remedy_ends_its_finding_and_brings_no_other() -> None:
    wrong = []
    for code, words, before, after in REMEDIES:
        first = PAIR if code == "missing_field" else None
        found, left = codes_of(before, other=first), codes_of(after, other=first)
        if code not in found or words not in ALL_CODES[code].fix or left:
            wrong.append((code, words, found, left))
    assert wrong == []


# Code, a row, and what is said to be written into the recipe.
COLUMNS: list[tuple[str, Row, dict[str, str]]] = [
    ("unknown_format", {"frage": "q", "antwort": "x"}, {"frage": "user", "antwort": "assistant"}),
    ("unknown_format", {"prompt": "q", "response_0": "x", "response_1": "y"}, {"response_0": "assistant"}),
    ("unknown_format", SQUAD, {"answers": "assistant"}),
    ("ambiguous_field", {"prompt": "q", "answer": "x", "output": "y"}, {"output": "assistant"}),
    ("ambiguous_field", {"prompt": "q", "query": "x", "output": "y"}, {"query": "context"}),
]


@pytest.mark.parametrize("name", ["Rename", "data.columns"])
def test_a_file_of_unknown_names_is_known_by_the_names_that_are_advised(name: str) -> None:
    wrong = []
    for code, row, columns in COLUMNS:
        own = {"user": "prompt", "assistant": "completion"}
        renamed = {own.get(columns[key], columns[key]) if key in columns else key: value for key, value in row.items()}
        after = codes_of(renamed) if name == "Rename" and code == "unknown_format" else codes_of(row, columns)
        if code not in codes_of(row) or after:
            wrong.append((code, row, columns, after))
    assert wrong == []


def test_two_fields_near_one_name_are_not_both_to_be_renamed_to_it(check) -> None:
    rows = [{"prompt": f"q {n}", "response_0": f"x {n}", "response_1": f"y {n}"} for n in range(60)]
    (problem,) = check("\n".join(map(json.dumps, rows)).encode()).result.report.problems
    assert (problem.code, "Rename" in problem.fix, "data.columns" in problem.fix) == ("unknown_format", False, True)


MIXED = {
    "two pairs of names": [("question", "answer"), ("prompt", "response")],
    "two names of answers": [("question", "output"), ("question", "answer")],
    "an empty column": [("question", "answer")],
}


@pytest.mark.parametrize("names", MIXED.values(), ids=MIXED)
def test_a_table_that_names_its_parts_in_several_ways_is_read_if_the_recipe_names_all(check, names) -> None:
    columns = {name: part for pair in names for name, part in zip(pair, ("user", "assistant"), strict=True)}
    header = dict.fromkeys(["output", *columns], "")
    rows = [header | dict(zip(names[n * len(names) // 60], (f"q {n}", f"a {n}"), strict=True)) for n in range(60)]
    data = "\n".join([",".join(header), *(",".join(row.values()) for row in rows)]).encode()
    recipe = f"evaluation: {{gate: {{min_rows: 2}}}}\ndata: {{columns: {json.dumps(columns)}}}".encode()
    before, after = (
        check(data, recipe=one, file_name="train.csv") for one in (b"evaluation: {gate: {min_rows: 2}}", recipe)
    )
    assert before.errors == ["mixed_names"]
    assert "name each column in data.columns" in before.result.report.problems[0].fix
    assert after.errors == []
    learned = (after.train + after.eval).decode()
    assert all(f'"a {n}"' in learned and f'"q {n}"' in learned for n in range(60))


GATE = "evaluation: {gate: {min_rows: 2}}\n"
# Code, words of its remedy, fields beside a pair, and the recipe before and after.
SETTINGS: list[tuple[str, str, Row, str, str]] = [
    (
        "personal_data",
        "data.personal_data: redact",
        {"completion": "Mail ann.lee@firma.de."},
        "",
        "data: {personal_data: redact}",
    ),
    ("secret", "data.secrets: redact", {"completion": "key AKIAQ6W4N3RXT7L2PZ5M"}, "", "data: {secrets: redact}"),
    ("split_group_field_missing", "leave out data.split_group", {}, "data: {split_group: ward}", ""),
    ("column_missing", "leave it out of data.columns", {}, "data: {columns: {frage: user}}", ""),
    ("other_format", "leave it out", {}, "data: {format: preference}", ""),
    ("method_data_mismatch", "dpo for preference pairs", {"chosen": "a", "rejected": "b"}, "", "method: {type: dpo}"),
    ("ambiguous_field", "in data.columns", {"output": "x"}, "", "data: {columns: {completion: assistant}}"),
    (
        "ignored_field",
        "beside a question that is no message, context",
        {"note": "x"},
        "",
        "data: {columns: {note: context}}",
    ),
    ("ignored_field", "named in data.columns as system", {"note": "x"}, "", "data: {columns: {note: system}}"),
]


@pytest.mark.slow
def test_each_remedy_that_is_a_setting_ends_its_finding(check) -> None:
    wrong = []
    for code, words, more, before, after in SETTINGS:
        rows = [{"prompt": f"q {n * n}", "completion": f"a {n}", **more} for n in range(60)]
        data = "\n".join(map(json.dumps, rows)).encode()
        found, left = (check(data, recipe=(GATE + recipe).encode()).codes for recipe in (before, after))
        if code not in found or code in left or words not in ALL_CODES[code].fix:
            wrong.append((code, words, list(found), list(left)))
    assert wrong == []


REWARD = b"method: {type: reinforcement, graders: [{name: a, type: string_check, reference: '{{item.target}}'}]}\n"
OWN = (
    b"evaluation: {graders: [{name: b, type: text_similarity, evaluation_metric: bleu, reference: '{{item.target}}'}]}"
)


@pytest.mark.parametrize("change", ["field", "reference"])
def test_a_reference_that_the_recipe_does_not_name_is_given_by_the_row_or_the_recipe(check, change: str) -> None:
    def file(**more: Any) -> bytes:
        return b"\n".join(
            json.dumps({"prompt": f"Which part is {n * n}?", "target": f"part {n}", **more}).encode() for n in range(60)
        )

    before = check(file(), recipe=REWARD)
    (problem,) = [one for one in before.result.report.problems if one.code == "grader_field_missing"]
    assert "`reference`, which is {{item.answer}} where the recipe gives none" in problem.fix
    after = check(file(answer="x"), recipe=REWARD) if change == "field" else check(file(), recipe=REWARD + OWN)
    assert after.errors == []


# The field by which they are known, and a row in which the second answer is the better one.
ORDERED: dict[str, Row] = {
    "better_response_id": {"prompt": "q", "response_0": "x", "response_1": "y", "better_response_id": 1},
    "winner": {"prompt": "q", "response_a": "x", "response_b": "y", "winner": "model_b"},
    "winner_model_a": {"prompt": "q", "response_a": "x", "response_b": "y", "winner_model_a": 0, "winner_model_b": 1},
    "overall_preference": {
        "context": [{"role": "user", "content": "q"}],
        "response1": "x",
        "response2": "y",
        "overall_preference": 2,
    },
    "human_ref_A": {"history": "q", "human_ref_A": "x", "human_ref_B": "y", "labels": 0},
}
TIE = {"winner": "tie", "winner_model_b": 0, "overall_preference": 0, "better_response_id": -1, "labels": None}


@pytest.mark.skipif(shutil.which("jq") is None, reason="the command of the remedy is for it")
def test_the_command_for_answers_in_no_order_makes_pairs_of_those_that_differ() -> None:
    turns = [[{"role": "user", "content": "q"}, {"role": "assistant", "content": text}] for text in "xy"]
    dialogues = {"conversation_a": turns[0], "conversation_b": turns[1], "winner": "B"}
    for name, row in [*ORDERED.items(), ("winner", dialogues)]:
        assert codes_of(row) == {"unknown_format"}
        command = FOREIGN[name].partition("jq -c '")[2].rpartition("'")[0]
        data = json.dumps(row) + json.dumps({**row, **{field: TIE[field] for field in TIE.keys() & row.keys()}})
        made = subprocess.run(["jq", "-c", command], input=data.encode(), stdout=subprocess.PIPE, check=True)
        pair = json.loads(made.stdout)
        assert (pair["chosen"], pair["rejected"]) == (("y", "x") if row is not dialogues else (turns[1], turns[0]))
        assert codes_of(pair) == set()
