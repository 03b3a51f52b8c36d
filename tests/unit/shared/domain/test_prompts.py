"""What is asked of a row, and that nothing else decides it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shared.domain.prompts import Prompt, as_dialogue, dialogues, prompt_of, reference_index, tools_of
from tests.paths import ROOT

PACKAGES = ("cli", "functions", "shared", "training_job", "local_stack")


def turns(*messages: str) -> list[dict[str, Any]]:
    """`user: What?` each, of weight 0 after a minus."""
    roles = {"u": "user", "a": "assistant", "-": "assistant", "t": "tool", "s": "system"}
    weight = {"-": {"weight": 0}}
    return [{"role": roles[one[0]], "content": one[1:], **weight.get(one[0], {})} for one in messages]


def pair(prompt: list[Any], preferred: list[Any], **more: Any) -> dict[str, Any]:
    return {"input": {"messages": prompt, **more}, "preferred_output": preferred, "non_preferred_output": turns("ano")}


@pytest.mark.parametrize(
    ("row", "context", "reference"),
    [
        ({"messages": turns("u1", "a2")}, "u1", "2"),
        ({"messages": turns("u1", "a2", "u3", "a4")}, "u1 a2 u3", "4"),
        ({"messages": turns("u1", "a2", "u3", "-4")}, "u1", "2"),
        ({"messages": turns("u1", "a2", "u3", "-4", "u5")}, "u1 a2 u3 a4 u5", None),
        ({"messages": turns("u1")}, "u1", None),
        ({"messages": turns("s0", "u1", "a2", "t3")}, "s0 u1 a2 t3", None),
        (pair(turns("u1"), turns("a2")), "u1", "2"),
        (pair(turns("u1", "a2", "u3"), turns("a4")), "u1 a2 u3", "4"),
        (pair(turns("u1"), turns("a2", "t3", "a4")), "u1 a2 t3", "4"),
    ],
)
def test_a_row_is_asked_up_to_its_last_learned_answer(row: Any, context: str, reference: str | None) -> None:
    prompt = prompt_of(row)
    assert " ".join(one["role"][0] + one["content"] for one in prompt.messages) == context
    dialogue = as_dialogue(row)
    index = reference_index(dialogue)
    assert (None if index is None else dialogue["messages"][index]["content"]) == reference


def test_a_request_names_tools_only_where_there_are_any_and_no_weight() -> None:
    tools = [{"type": "function", "function": {"name": "f", "description": "d", "parameters": {}}}]
    row = {"messages": turns("u1", "-2", "u3"), "tools": tools}
    sent = [{"role": "user", "content": "1"}, {"role": "assistant", "content": "2"}, {"role": "user", "content": "3"}]
    assert prompt_of(row).body() == {"messages": sent, "tools": tools, "tool_choice": "none"}
    rows: list[dict[str, Any]] = [{}, {"tools": None}, {"tools": []}]
    assert [prompt_of({"messages": turns("u1"), **row}).body() for row in rows] == [{"messages": turns("u1")}] * 3
    assert prompt_of(pair(turns("u1"), turns("a2"), tools=tools)).tools == tools


def test_tools_have_a_servers_fields_in_its_order() -> None:
    tool = {"x": 1, "function": {"strict": True, "parameters": {"b": 1, "a": 2}, "name": "f"}, "type": "function"}
    [read] = tools_of({"tools": [tool]}) or []
    function = {"name": "f", "description": None, "parameters": {"b": 1, "a": 2}, "strict": True}
    assert [*read.items()] == [("type", "function"), ("function", function), ("x", 1)]
    assert [*read["function"]] == [*function]
    assert tools_of({"tools": [read]}) == [read]


@pytest.mark.parametrize(
    ("messages", "left"),
    [
        (("u1", "a2"), "u1 a2"),
        (("u1", "a2", "u3", "-4"), "u1 a2"),
        (("u1", "-2", "u3", "a4"), "u1 a2 u3 a4"),
        (("u1", "a2", "u3"), "u1 a2 u3"),
        (("u1", "-2"), "u1 a2"),
    ],
)
def test_what_follows_the_last_learned_answer_is_not_learned_with(messages: tuple[str, ...], left: str) -> None:
    [dialogue] = dialogues({"messages": turns(*messages)})
    assert " ".join(one["role"][0] + one["content"] for one in dialogue["messages"]) == left


def test_a_conversation_is_shown_whole_and_its_earlier_messages_short() -> None:
    assert Prompt(turns("uWhich part?")).conversation() == "Which part?"
    call = {"function": {"name": "stock", "arguments": '{"part": "A4"}'}}
    messages = [*turns("s" + "x" * 400), {"role": "assistant", "content": "", "tool_calls": [call]}, *turns("t1" * 400)]
    assert Prompt(messages).conversation().split("\n") == [
        f"system: {'x' * 299}…",
        'assistant: stock({"part": "A4"})',
        f"tool: {'1t' * 399}1",
    ]


# The guard. Each place that may decide what a prompt is, and what it does there.
PROMPTS = "shared/domain/prompts.py"
RENDERS, CUTS, SEARCHES, ASKS = "renders a template", "cuts messages", "looks for the assistant", "has messages to send"
ALLOWED = {
    RENDERS: {
        "shared/rendering/rows.py",  # the one place
        "shared/rendering/template.py",  # what it calls
        "shared/rendering/bundle.py",  # an answer of one letter, to see what it ends with
        "local_stack/tiny_base/build.py",  # makes the base model, with its template
    },
    CUTS: {
        PROMPTS,
        "shared/rendering/rows.py",  # an answer is what its message adds to the text before it
    },
    SEARCHES: {
        PROMPTS,
        "shared/rendering/compare.py",  # words for what a template leaves out
    },
    ASKS: {
        PROMPTS,
        "shared/rendering/compare.py",  # a row of markers in place of words
        "cli/mapping.py",  # rows for a file; none is sent
        "shared/grading/llm_judge.py",  # a judge is asked what its grader says, not what a row says
        "training_job/evaluation/general.py",  # the suite's questions as rows
        "training_job/data/canaries.py",  # rows that are planted, and asked for in the form of rows
        "shared/api/event_catalog.py",  # messages of a bus
    },
}
# These read rows of any form and ask none; messages of a bus are other ones.
ELSEWHERE = ("shared/validation/", "shared/clients/service_bus/", "local_stack/service_bus/")
RENDERING = {"apply_chat_template", "add_generation_prompt"}


def _renders(node: ast.AST) -> bool:
    if not isinstance(node, ast.Call):
        return False
    *_, of, called = ["", *ast.unparse(node.func).rsplit(".", 1)]
    names = {called, *(keyword.arg for keyword in node.keywords)}
    return bool(RENDERING & names) or (called in ("render", "generate") and "template" in of)


def _cuts(node: ast.AST) -> bool:
    if isinstance(node, ast.Starred):
        return isinstance(node.ctx, ast.Store) and "messages" in ast.unparse(node)
    if not isinstance(node, ast.Subscript) or not isinstance(node.slice, ast.Slice):
        return False
    return "messages" in ast.unparse(node.value).rsplit("[", 1)[-1]


def _searches(node: ast.AST) -> bool:
    return isinstance(node, ast.Compare) and "assistant" in [getattr(one, "value", "") for one in node.comparators]


def _asks(node: ast.AST) -> bool:
    return isinstance(node, ast.Dict) and "messages" in [getattr(key, "value", "") for key in node.keys]


FOUND_BY = {RENDERS: _renders, CUTS: _cuts, SEARCHES: _searches, ASKS: _asks}


def decisions(path: Path) -> Iterator[tuple[str, int]]:
    """What a module decides about prompts, with the line."""
    for node in ast.walk(ast.parse(path.read_text())):
        yield from ((what, getattr(node, "lineno", 0)) for what, is_it in FOUND_BY.items() if is_it(node))


@pytest.mark.few_cases(3)
@pytest.mark.parametrize("package", PACKAGES)
def test_nothing_else_decides_what_is_asked(package: str) -> None:
    found = []
    for path in sorted((ROOT / package).rglob("*.py")):
        name = path.relative_to(ROOT).as_posix()
        if not name.startswith(ELSEWHERE):
            found += [f"{name}:{line} {what}" for what, line in decisions(path) if name not in ALLOWED[what]]
    assert found == []


@pytest.mark.parametrize(
    ("code", "what"),
    [
        ("tokenizer.apply_chat_template(row)", RENDERS),
        ("bundle.template.render(messages, ask=True)", RENDERS),
        ("self._template.generate(messages=m)", RENDERS),
        ("f(add_generation_prompt=True)", RENDERS),
        ('row["messages"][:-1]', CUTS),
        ("messages[:index]", CUTS),
        ('*messages, last = row["x"]', CUTS),
        ('messages[-1]["role"] == "assistant"', SEARCHES),
        ('body = {"messages": x, "temperature": 0}', ASKS),
    ],
)
def test_the_search_finds_each_way_to_build_a_prompt(code: str, what: str, tmp_path: Path) -> None:
    (tmp_path / "x.py").write_text(code)
    assert [found for found, _ in decisions(tmp_path / "x.py")] == [what]
