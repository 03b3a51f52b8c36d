"""Rows in the shapes of public data sets: what the model learns of each."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest

from shared.validation.conversions import HISTORY, chosen_rejected
from shared.validation.intake import ExpectedRows, open_rows
from shared.validation.rows import read_row

SYSTEM = {"role": "system", "content": "Be brief."}
QUESTION, ANSWER = {"role": "user", "content": "Is it on?"}, {"role": "assistant", "content": "yes"}
BETTER, WORSE = [ANSWER], [{"role": "assistant", "content": "no"}]
FIRST_TURNS = [{"from": "human", "value": "Is it on?"}]
CALL, RESULT = '{"name": "look", "arguments": {"hall": 3}}', '{"on": true}'
TOOL = {"name": "look", "parameters": {"type": "object"}}


def called(number: int, *calls: str) -> dict[str, Any]:
    return {
        "role": "assistant",
        "content": "",
        "tool_calls": [
            {"id": f"call_{number}_{n}", "type": "function", "function": {"name": "look", "arguments": arguments}}
            for n, arguments in enumerate(calls)
        ],
    }


def result(number: int, n: int, content: str) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": f"call_{number}_{n}", "content": content}


def user(*lines: str) -> dict[str, str]:
    return {"role": "user", "content": "\n".join(lines)}


LOOKED = {"id": "t1", "type": "function", "function": {"name": "look", "arguments": '{"hall":3}'}}
CALLED = {"role": "assistant", "content": "I look.", "tool_calls": [LOOKED]}
QUESTION_OF_LC = {"type": "human", "content": "Is it on?"}
FOUND = {"role": "tool", "content": "on", "tool_call_id": "t1"}


def shaped(role: str, content: str, *turns: Any) -> list[dict[str, Any]]:
    """Turns under other keys."""
    return [{role: first, content: second} for first, second in turns]


ANSWERS: dict[str, tuple[dict[str, Any], list[dict[str, Any]]]] = {
    "LangChain": (
        {"messages": shaped("type", "content", ("system", "Be brief."), ("human", "Is it on?"), ("ai", "yes"))},
        [SYSTEM, QUESTION, ANSWER],
    ),
    "LangChain, messages_to_dict": (
        {
            "messages": [
                {"type": "human", "data": {"content": "Is it on?", "type": "human", "id": None}},
                {"type": "ai", "data": {"content": "yes", "additional_kwargs": {}}},
            ]
        },
        [QUESTION, ANSWER],
    ),
    "LangChain, dumpd": (
        {
            "messages": [
                {"lc": 1, "type": "constructor", "id": ["HumanMessage"], "kwargs": {**QUESTION_OF_LC}},
                {"lc": 1, "type": "constructor", "id": ["AIMessage"], "kwargs": {"content": "yes", "type": "ai"}},
            ]
        },
        [QUESTION, ANSWER],
    ),
    "LangChain with a call": (
        {
            "messages": [
                QUESTION_OF_LC,
                {
                    "type": "ai",
                    "content": "I look.",
                    "invalid_tool_calls": [],
                    "tool_calls": [{"name": "look", "args": {"hall": 3}, "id": "t1", "type": "tool_call"}],
                },
                {"type": "tool", "content": "on", "tool_call_id": "t1"},
                {"type": "AIMessageChunk", "content": "yes"},
            ],
            "tools": [TOOL],
        },
        [QUESTION, CALLED, FOUND, ANSWER],
    ),
    "Anthropic with a call": (
        {
            "system": "Be brief.",
            "messages": shaped(
                "role",
                "content",
                ("user", "Is it on?"),
                (
                    "assistant",
                    [
                        {"type": "text", "text": "I look."},
                        {"type": "tool_use", "id": "t1", "name": "look", "input": {"hall": 3}},
                    ],
                ),
                ("user", [{"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "on"}]}]),
                ("assistant", [{"type": "text", "text": "yes"}]),
            ),
            "tools": [{"name": "look", "description": "d", "input_schema": {"type": "object"}}],
        },
        [SYSTEM, QUESTION, CALLED, FOUND, ANSWER],
    ),
    "Anthropic with a result and another question in one message": (
        {
            "messages": shaped(
                "role",
                "content",
                ("user", "Is it on?"),
                ("assistant", [{"type": "tool_use", "id": "t1", "name": "look", "input": {"hall": 3}}]),
                ("user", [{"type": "tool_result", "tool_use_id": "t1"}, {"type": "text", "text": "Is it on?"}]),
                ("assistant", "yes"),
            ),
            "tools": [TOOL],
        },
        [QUESTION, {**CALLED, "content": ""}, {**FOUND, "content": ""}, QUESTION, ANSWER],
    ),
    "Bedrock with a call": (
        {
            "messages": shaped(
                "role",
                "content",
                ("user", [{"text": "Is it on?"}]),
                (
                    "assistant",
                    [{"text": "I look."}, {"toolUse": {"toolUseId": "t1", "name": "look", "input": {"hall": 3}}}],
                ),
                ("user", [{"toolResult": {"toolUseId": "t1", "content": [{"text": "on"}]}}]),
                ("assistant", [{"text": "yes"}]),
            ),
            "tools": [TOOL],
        },
        [QUESTION, CALLED, FOUND, ANSWER],
    ),
    "Gemini with a call": (
        {
            "systemInstruction": {"parts": [{"text": "Be brief."}]},
            "contents": shaped(
                "role",
                "parts",
                ("user", [{"text": "Is it on?"}]),
                ("model", [{"functionCall": {"name": "look", "args": {"hall": 3}}}]),
                ("user", [{"functionResponse": {"name": "look", "response": {"on": True}}}]),
                ("model", [{"text": "yes"}]),
            ),
            "tools": [{"functionDeclarations": [TOOL]}],
        },
        [SYSTEM, QUESTION, called(2, '{"hall":3}'), {**result(2, 0, '{"on":true}'), "name": "look"}, ANSWER],
    ),
    "Cohere": (
        {"preamble": "Be brief.", "chat_history": shaped("role", "message", ("USER", "Is it on?"), ("CHATBOT", "yes"))},
        [SYSTEM, QUESTION, ANSWER],
    ),
    "OpenAI's Responses": (
        {"instructions": "Be brief.", "input": "Is it on?", "output": "yes"},
        [SYSTEM, QUESTION, ANSWER],
    ),
    "a system text of another spelling": (
        {"systemPrompt": "Be brief.", "messages": [QUESTION, ANSWER]},
        [SYSTEM, QUESTION, ANSWER],
    ),
    "texts of roles": ({"turns": shaped("role", "text", ("user", "Is it on?"), ("bot", "yes"))}, [QUESTION, ANSWER]),
    "an answer that is an object": (
        {"prompt": "Is it on?", "completion": {"on": True, "hall": 3}},
        [QUESTION, {"role": "assistant", "content": '{"on":true,"hall":3}'}],
    ),
    "Dolly": (
        {"instruction": "Is it on?", "context": "The press runs.", "response": "yes"},
        [user("Is it on?", "The press runs."), ANSWER],
    ),
    "SQuAD": (
        {"context": "The press runs.", "question": "Is it on?", "answer": "yes"},
        [user("Is it on?", "The press runs."), ANSWER],
    ),
    "several passages": (
        {"context": ["The press runs.", "Hall 3."], "question": "Is it on?", "answer": "yes"},
        [user("Is it on?", "The press runs.", "", "Hall 3."), ANSWER],
    ),
    "Alpaca with a context": (
        {"instruction": "Is it on?", "context": "The press runs.", "input": "", "output": "yes"},
        [user("Is it on?", "The press runs."), ANSWER],
    ),
    "OpenOrca": (
        {"system_prompt": "Be brief.", "question": "Is it on?", "response": "yes"},
        [SYSTEM, QUESTION, ANSWER],
    ),
    "query and response": ({"query": "Is it on?", "response": "yes"}, [QUESTION, ANSWER]),
    "problem and solution": ({"problem": "Is it on?", "solution": "yes"}, [QUESTION, ANSWER]),
    "input and target": ({"input": "Is it on?", "target": "yes"}, [QUESTION, ANSWER]),
    "a history beside a pair": (
        {"prompt": "Is it on?", "response": "yes", "history": [["Is it on?", "yes"]]},
        [QUESTION, ANSWER, QUESTION, ANSWER],
    ),
    "a number as an answer": ({"prompt": "Is it on?", "completion": 1}, [QUESTION, {**ANSWER, "content": "1"}]),
    "a fraction as an answer": ({"prompt": "Is it on?", "answer": 0.5}, [QUESTION, {**ANSWER, "content": "0.5"}]),
    "a boolean as an answer": ({"prompt": "Is it on?", "answer": True}, [QUESTION, {**ANSWER, "content": "true"}]),
    "text in parts": (
        {
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": "Is it"}, {"type": "text", "text": "on?"}]},
                {"role": "assistant", "content": [{"type": "text", "value": "yes"}]},
            ]
        },
        [user("Is it", "on?"), ANSWER],
    ),
    "Bedrock": (
        {
            "system": "Be brief.",
            "messages": [
                {"role": "user", "content": [{"text": "Is it on?"}]},
                {"role": "assistant", "content": [{"text": "yes"}]},
            ],
        },
        [SYSTEM, QUESTION, ANSWER],
    ),
    "messages as a cell of a table": (
        {"messages": json.dumps([QUESTION, ANSWER])},
        [QUESTION, ANSWER],
    ),
    "conversations as a cell of a table": (
        {"conversations": json.dumps([*FIRST_TURNS, {"from": "gpt", "value": "yes"}])},
        [QUESTION, ANSWER],
    ),
    "messages of from and value": ({"messages": [*FIRST_TURNS, {"from": "gpt", "value": "yes"}]}, [QUESTION, ANSWER]),
    "ShareGPT with a call": (
        {
            "conversations": [
                *FIRST_TURNS,
                {"from": "function_call", "value": CALL},
                {"from": "observation", "value": RESULT},
                {"from": "gpt", "value": "yes"},
            ],
            "tools": json.dumps([TOOL]),
        },
        [QUESTION, called(1, '{"hall":3}'), result(1, 0, RESULT), ANSWER],
    ),
    "ShareGPT with two calls at once": (
        {
            "conversations": [
                *FIRST_TURNS,
                {"from": "function_call", "value": f"[{CALL}, {CALL}]"},
                {"from": "observation", "value": f'[{RESULT}, "off"]'},
                {"from": "gpt", "value": "yes"},
            ],
            "tools": json.dumps([TOOL]),
        },
        [QUESTION, called(1, '{"hall":3}', '{"hall":3}'), result(1, 0, '{"on":true}'), result(1, 1, "off"), ANSWER],
    ),
    "a call as text that nothing answers": (
        {"conversations": [*FIRST_TURNS, {"from": "gpt", "value": f"<tool_call>{CALL}</tool_call>"}]},
        [QUESTION, {"role": "assistant", "content": f"<tool_call>{CALL}</tool_call>"}],
    ),
    "a turn that says the same twice": (
        {
            "conversations": [
                {"from": "human", "role": "user", "value": "Is it on?", "content": "Is it on?"},
                {"from": "gpt", "value": "", "content": "yes"},
            ]
        },
        [QUESTION, ANSWER],
    ),
    "messages and their answer": ({"messages": [SYSTEM, QUESTION], "response": "yes"}, [SYSTEM, QUESTION, ANSWER]),
    "several turns and their answer": (
        {"messages": [QUESTION, ANSWER, QUESTION], "output": "yes"},
        [QUESTION, ANSWER, QUESTION, ANSWER],
    ),
    "a label in a list (doccano)": ({"question": "Is it on?", "answer": ["yes"]}, [QUESTION, ANSWER]),
    "a number in a list": ({"question": "Is it on?", "answer": [4]}, [QUESTION, {**ANSWER, "content": "4"}]),
    "ShareGPT with a blank list of tools": (
        {"conversations": [*FIRST_TURNS, {"from": "gpt", "value": "yes"}], "tools": " "},
        [QUESTION, ANSWER],
    ),
}


def read(row: dict[str, Any], *, prompts: bool = False) -> tuple[dict[str, Any] | None, set[str]]:
    form = open_rows([json.dumps(row).encode()], ExpectedRows(prompts=prompts)).form
    assert form is not None
    found, codes = read_row(json.dumps(row).encode(), form)
    return None if found is None else json.loads(found.canonical), set(codes)


@pytest.mark.few_cases(3)
@pytest.mark.parametrize(("row", "messages"), ANSWERS.values(), ids=ANSWERS)
def test_a_row_becomes_a_dialogue_with_all_that_the_model_should_read(row, messages) -> None:
    document, codes = read(row)
    assert codes == set()
    assert document is not None
    assert (document["messages"], document["item"]) == (messages, {})


PAIRS: dict[str, dict[str, Any]] = {
    "LLaMA-Factory": {
        "conversations": FIRST_TURNS,
        "chosen": {"from": "gpt", "value": "yes"},
        "rejected": {"from": "gpt", "value": "no"},
    },
    "LLaMA-Factory, version 1": {
        "chosen_messages": [
            {"role": "user", "content": [{"type": "text", "value": "Is it on?"}]},
            {"role": "assistant", "content": [{"type": "text", "value": "yes"}]},
        ],
        "rejected_messages": [
            {"role": "user", "content": [{"type": "text", "value": "Is it on?"}]},
            {"role": "assistant", "content": [{"type": "text", "value": "no"}]},
        ],
    },
    "TRL, dialogues": {"prompt": [QUESTION], "chosen": BETTER, "rejected": WORSE},
    "TRL, whole dialogues": {"chosen": [QUESTION, *BETTER], "rejected": [QUESTION, *WORSE]},
    "TRL, whole dialogues beside their prompt": {
        "prompt": "Is it on?",
        "chosen": [QUESTION, *BETTER],
        "rejected": [QUESTION, *WORSE],
    },
    "TRL, texts": {"prompt": "Is it on?", "chosen": "yes", "rejected": "no"},
    "messages beside two answers": {"messages": [QUESTION], "chosen": ANSWER, "rejected": WORSE[0]},
    "UltraFeedback": {
        "prompt": "Is it on?",
        "messages": [QUESTION, *BETTER],
        "chosen": [QUESTION, *BETTER],
        "rejected": [QUESTION, *WORSE],
    },
    "a whole dialogue beside two texts": {"messages": [QUESTION, *BETTER], "chosen": "yes", "rejected": "no"},
    "a whole dialogue with the worse answer": {"messages": [QUESTION, *WORSE], "chosen": "yes", "rejected": "no"},
    "turns with the answer beside their question": {
        "question": "Is it on?",
        "conversations": [*FIRST_TURNS, {"from": "gpt", "value": "yes"}],
        "chosen": [QUESTION, *BETTER],
        "rejected": [QUESTION, *WORSE],
    },
    "a question that messages have as well": {
        "prompt": "Is it on?",
        "messages": [QUESTION],
        "chosen": "yes",
        "rejected": "no",
    },
    "a question with a line feed": {
        "prompt": "Is it on?\n",
        "chosen": [QUESTION, *BETTER],
        "rejected": [QUESTION, *WORSE],
    },
    "OpenAI": {"input": {"messages": [QUESTION]}, "preferred_output": BETTER, "non_preferred_output": WORSE},
}


@pytest.mark.parametrize("beside", [{}, {"system": "Be brief."}, {"tools": [TOOL]}, {"system_prompt": "Be brief."}])
@pytest.mark.parametrize("row", PAIRS.values(), ids=PAIRS)
def test_a_preference_pair_has_its_question_system_text_and_tools(row, beside) -> None:
    document, codes = read({**row, **beside})
    assert codes == set()
    question: dict[str, Any] = {"messages": [QUESTION]}
    if "tools" in beside:
        question["tools"] = [{"type": "function", "function": TOOL}]
    elif beside:
        question["messages"] = [SYSTEM, QUESTION]
    assert document == {
        "input": question,
        "preferred_output": BETTER,
        "non_preferred_output": WORSE,
        "item": {},
    }


@pytest.mark.parametrize("beside", [{"prompt": "Is it on?"}, {}])
def test_a_dialogue_with_a_third_answer_is_kept_and_not_learned(beside) -> None:
    third = [QUESTION, {"role": "assistant", "content": "perhaps"}]
    row = {**beside, "messages": third, "chosen": [QUESTION, *BETTER], "rejected": [QUESTION, *WORSE]}
    document, codes = read(row)
    assert codes == set()
    assert document is not None
    assert (document["input"], document["item"]) == ({"messages": [QUESTION]}, {"messages": third})


def test_alpaca_pairs_have_their_input_below_the_question() -> None:
    document, codes = read({"instruction": "Is it on?", "input": "The press runs.", "chosen": "yes", "rejected": "no"})
    assert (codes, document and document["input"]) == (set(), {"messages": [user("Is it on?", "The press runs.")]})


@pytest.mark.parametrize("name", ["system", "system_message", "system_prompt"])
@pytest.mark.parametrize("beside", [{}, {"system": "Be brief."}, {"system": ""}, {"tools": []}])
def test_system_text_and_tools_in_the_input_of_a_pair_are_learned(name, beside) -> None:
    inner = {"messages": [QUESTION], name: "Be brief.", "functions": [TOOL]}
    row, codes = read({**PAIRS["OpenAI"], **beside, "input": inner})
    assert codes == set()
    assert row is not None
    assert row["input"] == {"messages": [SYSTEM, QUESTION], "tools": [{"type": "function", "function": TOOL}]}


CALLS_BESIDE: dict[str, Any] = {
    "xLAM": {"query": "Is it on?", "answers": f"[{CALL}]", "tools": json.dumps([TOOL])},
    "a list": {"query": "Is it on?", "answers": [json.loads(CALL)], "tools": [TOOL]},
    "of another name": {"question": "Is it on?", "answer": f"[{CALL}]", "functions": [TOOL]},
    "one call": {"prompt": "Is it on?", "completion": json.loads(CALL), "tools": [TOOL]},
    "one call as text": {"prompt": "Is it on?", "completion": CALL, "tools": [TOOL]},
    "below messages": {"messages": [QUESTION], "response": f"[{CALL}]", "tools": [TOOL]},
}


@pytest.mark.parametrize("row", CALLS_BESIDE.values(), ids=CALLS_BESIDE)
def test_calls_beside_a_question_with_tools_are_learned_as_calls(row) -> None:
    document, codes = read(row)
    assert codes == set()
    assert document is not None
    assert document["messages"] == [QUESTION, called(0, '{"hall":3}')]


def test_json_beside_a_question_without_tools_is_learned_as_text() -> None:
    document, _ = read({"prompt": "Is it on?", "completion": f"[{CALL}]"})
    assert document is not None
    assert document["messages"][-1] == {"role": "assistant", "content": f"[{CALL}]"}


@pytest.mark.parametrize("name", ["parameters", "input_schema", "inputSchema"])
def test_arguments_are_compared_with_the_schema_whatever_its_name(name) -> None:
    schema = {"type": "object", "properties": {"hall": {"type": "string"}}}
    _, codes = read({"messages": [QUESTION, called(1, '{"hall":3}')], "tools": [{"name": "look", name: schema}]})
    assert [code.partition("|")[0] for code in codes] == ["tool_arguments_violate_schema"]


HISTORIES: dict[str, Any] = {
    "pairs": [["Is it on?", "yes"]],
    "pairs as text": '[["Is it on?", "yes"]]',
    "messages": [QUESTION, ANSWER],
    "messages of LangChain": [QUESTION_OF_LC, {"type": "ai", "content": "yes"}],
    "turns": [*FIRST_TURNS, {"from": "gpt", "value": "yes"}],
}


@pytest.mark.few_cases(3)
@pytest.mark.parametrize("name", HISTORY)
@pytest.mark.parametrize("history", HISTORIES.values(), ids=HISTORIES)
def test_turns_before_the_question_are_read_in_every_form_and_under_every_name(name, history) -> None:
    document, codes = read({name: history, "question": "Is it on?", "answer": "yes"})
    assert codes == set()
    assert document is not None
    assert (document["messages"], document["item"]) == ([QUESTION, ANSWER, QUESTION, ANSWER], {})


@pytest.mark.parametrize("name", HISTORY)
def test_a_history_that_is_a_transcript_is_refused_and_other_text_is_kept(name) -> None:
    pair = {"question": "Is it on?", "answer": "yes"}
    for text in ("Human: Is it on?\nAI: yes", "### Human: Is it on?### Assistant: yes", "<|im_start|>user\nIs it on?"):
        document, (code,) = read({name: text, **pair})
        assert (document, code.split("|")[1].split()[0]) == (None, name)
    document, codes = read({name: "diabetes type 2", **pair})
    assert document is not None
    assert (document["messages"], document["item"], codes) == ([QUESTION, ANSWER], {name: "diabetes type 2"}, set())
    document, codes = read({name: None, **pair})
    assert document is not None
    assert (document["item"], codes) == ({}, set())


PROMPTS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "GSM8K": ({"question": "Is it on?", "answer": "yes"}, {"messages": [QUESTION], "item": {"answer": "yes"}}),
    "TRL": (
        {"prompt": [SYSTEM, QUESTION], "answer": "yes"},
        {"messages": [SYSTEM, QUESTION], "item": {"answer": "yes"}},
    ),
    "TRL, a text": ({"prompt": "Is it on?", "solution": "1"}, {"messages": [QUESTION], "item": {"solution": "1"}}),
    "a pair": ({"prompt": "Is it on?", "completion": "yes"}, {"messages": [QUESTION], "item": {"completion": "yes"}}),
    "beside a dialogue (OpenR1)": (
        {"problem": "Is it on?", "solution": "yes", "messages": [QUESTION, ANSWER]},
        {"messages": [QUESTION], "item": {"solution": "yes", "messages": [QUESTION, ANSWER]}},
    ),
    "with a passage": (
        {"question": "Is it on?", "context": "The press runs.", "answer": "yes"},
        {"messages": [user("Is it on?", "The press runs.")], "item": {"answer": "yes"}},
    ),
    "several turns": (
        {"messages": [{**SYSTEM, "role": "developer"}, QUESTION, ANSWER, QUESTION], "answer": "yes"},
        {"messages": [SYSTEM, QUESTION, ANSWER, QUESTION], "item": {"answer": "yes"}},
    ),
    "the end of a tool": (
        {"messages": [QUESTION, called(1, "{}"), result(1, 0, RESULT)], "tools": [TOOL], "answer": "yes"},
        {
            "messages": [QUESTION, called(1, "{}"), result(1, 0, RESULT)],
            "tools": [{"type": "function", "function": TOOL}],
            "item": {"answer": "yes"},
        },
    ),
}


@pytest.mark.parametrize(("row", "document"), PROMPTS.values(), ids=PROMPTS)
def test_a_prompt_for_reinforcement_keeps_its_answer_for_graders(row, document) -> None:
    assert read(row, prompts=True) == (document, set())


def test_a_file_of_prompts_is_read_as_one_because_the_method_says_so(check) -> None:
    recipe = b"""
method: {type: reinforcement, graders: [{name: a, type: string_check, reference: "{{item.answer}}"}]}
evaluation: {graders: [{name: b, type: string_check, operation: like, reference: "{{item.answer}}"}]}
"""
    for row, _ in PROMPTS.values():
        text = json.dumps({"answer": "yes", **row})
        data = "\n".join(text.replace("Is it on", f"Is number {n} on") for n in range(300)).encode()
        checked = check(data, None, recipe)
        assert checked.errors == []
        assert checked.result.report.format == "reinforcement"
        again = check(checked.train, checked.eval, recipe)
        assert again.result.version == checked.result.version


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "a thought of Gemini": (
        {
            "contents": [
                {"role": "user", "parts": [{"text": "q"}]},
                {"role": "model", "parts": [{"text": "hm", "thought": True}, {"text": "yes"}]},
            ]
        },
        "reasoning_not_read|a thought",
    ),
    "an answer that is a list of objects": (
        {"prompt": "x", "completion": [{"a": 1}]},
        "data_type|completion is a list, not text or messages",
    ),
    "a question that is an object": (
        {"prompt": {"a": 1}, "completion": "x"},
        "data_type|prompt is an object, not text or messages",
    ),
    "a call by the user": (
        {"messages": [{"role": "user", "content": ["q", {"type": "tool_use", "id": "1", "name": "look"}]}, ANSWER]},
        "invalid_tool_calls||messages[0].tool_calls",
    ),
    "a call in the content and another beside it": (
        {
            "messages": [
                QUESTION,
                {"role": "assistant", "content": [{"type": "tool_use", "name": "look"}], "tool_calls": [LOOKED]},
            ]
        },
        "field_twice|a key of a message (beside its content and in a part of it)",
    ),
    "a thought among the parts": (
        {"messages": [QUESTION, {"role": "assistant", "content": [{"type": "thinking", "thinking": "hm"}]}]},
        "reasoning_not_read|a thought",
    ),
    "a number as a question": ({"prompt": 1, "completion": "x"}, "data_type|prompt is a number, not text"),
    "no call beside tools": ({"query": "x", "answers": "[]", "tools": [TOOL]}, "invalid_tool_calls"),
    "a list of texts as an answer": (
        {"instruction": "x", "output": ["a", "b"]},
        "data_type|output is a list, not text or messages",
    ),
    "an object as context": (
        {"question": "x", "context": {"a": "b"}, "answer": "y"},
        "data_type|context is an object, not text",
    ),
    "context beside a dialogue that ends with an answer": (
        {"prompt": [QUESTION, ANSWER], "context": "The press runs.", "completion": "x"},
        "passage_not_read|context",
    ),
    "a result without a call": (
        {"conversations": [*FIRST_TURNS, {"from": "observation", "value": "1"}, {"from": "gpt", "value": "x"}]},
        "tool_message_orphan",
    ),
    "a call that is no JSON": (
        {"conversations": [*FIRST_TURNS, {"from": "function_call", "value": "look()"}, {"from": "gpt", "value": "x"}]},
        "invalid_tool_calls",
    ),
    "a call with something of its own": (
        {"conversations": [*FIRST_TURNS, {"from": "function_call", "value": '{"name": "f", "x": 1}'}]},
        "invalid_tool_calls",
    ),
    "a prompt that is not in the dialogues beside it": (
        {"prompt": "Is it off?", "chosen": [QUESTION, *BETTER], "rejected": [QUESTION, *WORSE]},
        "outputs_differ_in_question",
    ),
    "messages that ask otherwise": (
        {
            "messages": [{**QUESTION, "content": "Is it off?"}],
            "chosen": [QUESTION, *BETTER],
            "rejected": [QUESTION, *WORSE],
        },
        "outputs_differ_in_question",
    ),
    "tools in two places of a pair": (
        {**PAIRS["OpenAI"], "input": {"messages": [QUESTION], "tools": [TOOL]}, "tools": [TOOL]},
        "tools_twice",
    ),
    "two system texts of a pair": (
        {**PAIRS["OpenAI"], "input": {"messages": [QUESTION], "system": "Be brief."}, "system": "Be long."},
        "system_twice",
    ),
    "a turn of two texts": (
        {"conversations": [{**FIRST_TURNS[0], "content": "Is it off?"}, {"from": "gpt", "value": "x"}]},
        "field_twice|the text of a turn (value and content)",
    ),
    "a turn of two speakers": (
        {"conversations": [{**FIRST_TURNS[0], "role": "system"}, {"from": "gpt", "value": "x"}]},
        "field_twice|the speaker of a turn (from and role)",
    ),
    "a turn of two calls": (
        {"conversations": [*FIRST_TURNS, {"from": "function_call", "value": CALL, "tool_calls": [1]}]},
        "field_twice|the calls of a turn (value and tool_calls)",
    ),
    "a call with arguments and parameters": (
        {
            "conversations": [
                *FIRST_TURNS,
                {"from": "function_call", "value": '{"name": "f", "arguments": {}, "parameters": 1}'},
            ]
        },
        "invalid_tool_calls",
    ),
    "a call with a key twice": (
        {
            "conversations": [
                *FIRST_TURNS,
                {"from": "function_call", "value": '{"name": "f", "arguments": {"a": 1, "a": 2}}'},
            ]
        },
        "duplicate_key",
    ),
    "tools with a key twice": (
        {"conversations": [*FIRST_TURNS, {"from": "gpt", "value": "x"}], "tools": '[{"name": "f", "a": 1, "a": 2}]'},
        "duplicate_key",
    ),
    "more results than calls": (
        {
            "conversations": [
                *FIRST_TURNS,
                {"from": "function_call", "value": CALL},
                {"from": "tool", "value": "1"},
                {"from": "tool", "value": "2"},
                {"from": "gpt", "value": "x"},
            ]
        },
        "tool_message_orphan",
    ),
    "a call as text with its result, as Hermes has it": (
        {
            "conversations": [
                *FIRST_TURNS,
                {"from": "gpt", "value": f"<tool_call>{CALL}</tool_call>"},
                {"from": "tool", "value": RESULT},
                {"from": "gpt", "value": "x"},
            ]
        },
        "tool_message_orphan",
    ),
    "a field beside `item` and in it": (
        {"messages": [QUESTION, ANSWER], "item": {"id": 1}, "id": 2},
        "field_twice|the field id (in item and beside it)",
    ),
}


@pytest.mark.parametrize(("row", "code"), REFUSED.values(), ids=REFUSED)
def test_a_row_that_cannot_be_converted_says_which_field_it_is(row, code) -> None:
    assert read(row) == (None, {code})


class Counted(str):
    """A text that counts how often it is compared."""

    compared = 0

    def __eq__(self, other: object) -> bool:
        Counted.compared += 1
        return super().__eq__(other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = str.__hash__


@pytest.mark.parametrize("count", [100, 1000])
def test_a_question_beside_two_dialogues_is_compared_with_them_once_a_turn(count: int) -> None:
    def turns(answer: str | None) -> list[dict[str, Any]]:
        users = [{"role": "user", "content": Counted(f"q{number}")} for number in range(count)]
        return [*users, {"role": "assistant", "content": answer}] if answer else list(reversed(users))

    Counted.compared = 0
    found = chosen_rejected({"messages": turns(None), "chosen": turns("yes"), "rejected": turns("no")})
    assert len(found["input"]["messages"]) == count
    assert Counted.compared <= 2 * count


BLOCKS = {
    "Anthropic": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
    "Bedrock": [{"text": "Be brief."}],
}


@pytest.mark.parametrize("blocks", BLOCKS.values(), ids=BLOCKS)
def test_a_system_text_in_blocks_is_read(blocks) -> None:
    turns = [{"role": "user", "content": [{"text": "q"}]}, {"role": "assistant", "content": [{"text": "a"}]}]
    read, found = read_row(json.dumps({"system": blocks, "messages": turns}).encode())
    assert list(found) == []
    assert read is not None
    assert [one["content"] for one in read.messages] == ["Be brief.", "q", "a"]


def test_a_system_block_that_is_no_text_is_refused() -> None:
    turns = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    _, found = read_row(json.dumps({"system": [{"image": "x"}], "messages": turns}).encode())
    assert list(found) == ["data_type|system is a list, not text"]


WORDS: list[Any] = [
    *(
        "hammer, wrench",
        "hammer",
        "3",
        3,
        True,
        2.5,
        ["cooling"],
        ["cooling", 3],
        '["hammer", "wrench"]',
        "Zange; Hammer",
    ),
]
NO_WORDS: list[Any] = ['[{"name": ', "{", [{"name": "look"}, "x"], ["{'name': 'look'}"], {"look": {}}, [["look"]]]


def test_fields_called_as_tools_are_that_hold_words_are_kept_and_other_values_are_refused() -> None:
    wrong = []
    for name, value in itertools.product(("tools", "functions"), [*WORDS, *NO_WORDS]):
        for row in (
            {"prompt": "Is it on?", "completion": "yes", name: value},
            {"messages": [QUESTION, ANSWER], name: value},
            {"prompt": "Is it on?", "chosen": "yes", "rejected": "no", name: value},
        ):
            document, codes = read(row)
            expected = ({name: value}, set()) if value in WORDS else (None, {"invalid_tools"})
            if (document and document["item"], codes) != expected:
                wrong.append((row, document, codes))
    assert wrong == []
    both, _ = read({"messages": [QUESTION, ANSWER], "tools": [TOOL], "functions": ["cooling"]})
    assert both is not None
    assert (both["tools"][0]["function"]["name"], both["item"]) == ("look", {"functions": ["cooling"]})


def test_an_answer_of_squad_is_its_text_and_one_of_several_is_refused() -> None:
    one, _ = read({"question": "Is it on?", "answer": {"text": ["yes"], "answer_start": [3]}})
    assert one is not None
    assert one["messages"] == [QUESTION, ANSWER]
    for texts in ([], ["yes", "it is"], [["yes"]]):
        document, codes = read({"question": "Is it on?", "answer": {"text": texts, "answer_start": []}})
        assert document is None
        assert {code.partition("|")[0] for code in codes} <= {"data_type", "example_missing_assistant_message"}


NO_VALUES = ["nan", "NaN", "None", "null", "N/A", "NA", "<NA>", " nan ", "<noinput>", "undefined", ""]


@pytest.mark.few_cases(3)
@pytest.mark.parametrize("value", NO_VALUES)
@pytest.mark.parametrize("name", ["input", "context", "passage", "system", "system_prompt"])
def test_a_word_for_no_value_beside_the_question_is_not_read(name, value) -> None:
    row = {"instruction": "Is it on?", "output": "yes"}
    line = json.dumps({**row, name: value}).encode()
    form = open_rows([line]).form
    assert form is not None
    read, codes = read_row(line, form)
    assert read is not None
    assert (read.messages, codes) == ([QUESTION, ANSWER], set())


@pytest.mark.parametrize("value", ["Na", "nan bread", "null hypothesis", "0", "no"])
def test_other_short_texts_are_read(value) -> None:
    line = json.dumps({"instruction": "Is it on?", "input": value, "output": "yes"}).encode()
    form = open_rows([line]).form
    assert form is not None
    read, _ = read_row(line, form)
    assert read is not None
    assert read.messages[0] == user("Is it on?", value)
