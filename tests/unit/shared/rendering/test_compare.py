"""What a chat template leaves out of a row is found, and nothing is said of what it only writes in another form."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from tokenizers import AddedToken, Tokenizer

from shared.domain.findings import Findings, Place
from shared.rendering.bundle import Bundle
from shared.rendering.check import TOKEN_CODES, LengthPolicy, TokenCheck, TokenFacts
from shared.rendering.rows import render_row
from tests.unit.shared.rendering import families
from tests.unit.shared.rendering.families import CALL, ROWS, TEMPLATES, TOOLS, message

NO_LIMIT = LengthPolicy(None, "reject")
Row = dict[str, Any]


def codes(bundle: Bundle, *rows: Row) -> list[set[str]]:
    return [set(row.codes) - {"special_token_in_text"} for row in TokenCheck(bundle, NO_LIMIT).rows(rows)]


def left_out(*parts: str) -> set[str]:
    return {f"template_leaves_out_{part}" for part in parts}


# Rows as users have them.

TEXTS = (
    "A bolt.",
    'Line one\nline "two" & <b>three</b>\n\n  indented 🔩 日本語',
    "  padded  ",
    "12",
    '{"a": [1, 2], "b": "x\\ny"}',
    "It's 5 % & more < 3",
    "C:\\temp\\new",
    "```python\nprint('x')\n```",
    "!?",
)
ORDER = {
    "type": "function",
    "function": {
        "name": "order_part",
        "description": "Orders parts",
        "parameters": {
            "type": "object",
            "properties": {"part": {"type": "string", "description": "its name"}, "count": {"type": "integer"}},
            "required": ["part"],
        },
    },
}


def call(number: int, **arguments: Any) -> Row:
    function = {"name": "order_part", "arguments": json.dumps(arguments or {"part": 'bolt "M5" Zürich', "count": 3})}
    return {"id": f"call0000{number}", "type": "function", "function": function}


def result(number: int, text: str) -> Row:
    return message("tool", text, tool_call_id=f"call0000{number}")


def drawn(chance: random.Random, kind: str) -> Row:
    def text() -> str:
        return chance.choice(TEXTS) + chance.choice(("", f" {chance.randrange(999)}"))

    def thought() -> str:
        return f"<think>\nhmm {chance.randrange(99)}\n</think>\n\n{text()}"

    prompt, tools = [message("user", text())], {"tools": [*TOOLS, ORDER]}
    if kind.startswith("system "):
        prompt.insert(0, message("system", text()))
    answer = message("assistant", text())
    match kind.removeprefix("system "):
        case "answer":
            return {"messages": [*prompt, answer]}
        case "turns":
            return {"messages": [*prompt, answer, message("user", text()), message("assistant", text())]}
        case "weights":
            return {
                "messages": [*prompt, {**answer, "weight": 0}, message("user", text()), message("assistant", text())]
            }
        case "thoughts":
            earlier_answer = message("assistant", thought())
            return {"messages": [*prompt, earlier_answer, message("user", text()), message("assistant", thought())]}
        case "tools unused":
            return {"messages": [*prompt, answer], **tools}
        case "call last":
            return {"messages": [*prompt, message("assistant", "", tool_calls=[call(1)])], **tools}
        case "call":
            turn = message("assistant", "", tool_calls=[call(1, part="x", tags=["a"], urgent=True, to={"b": 1})])
            return {"messages": [*prompt, turn, result(1, text()), answer], **tools}
        case "text and call":
            turn = message("assistant", text(), tool_calls=[call(1)])
            return {"messages": [*prompt, turn, result(1, text()), answer], **tools}
        case "parallel calls":
            turn = message("assistant", "", tool_calls=[call(1), call(2)])
            return {"messages": [*prompt, turn, result(1, text()), result(2, text()), answer], **tools}
        case "pair":
            other = message("assistant", text() + " or not")
            return {"input": {"messages": prompt}, "preferred_output": [answer], "non_preferred_output": [other]}
        case "prompt":
            return {"messages": prompt, "item": {"target": "x"}}
    raise AssertionError(kind)


_KINDS = (
    "answer",
    "turns",
    "weights",
    "thoughts",
    "tools unused",
    "call last",
    "call",
    "text and call",
    "parallel calls",
    "pair",
    "prompt",
)
KINDS = (*_KINDS, *(f"system {kind}" for kind in _KINDS))


def rows_of_every_kind(each: int) -> Iterator[tuple[str, Row]]:
    chance = random.Random(5)
    for kind in KINDS:
        for _ in range(each):
            yield kind, drawn(chance, kind)


def found_by_kind(bundle: Bundle, each: int = 40) -> dict[str, set[str]]:
    """Code -> the kinds of which every row has it; a kind of which only some rows have it is named with a star."""
    found: dict[str, dict[str, int]] = {}
    kinds, rows = zip(*rows_of_every_kind(each), strict=True)
    for kind, its_codes in zip(kinds, codes(bundle, *rows), strict=True):
        for code in its_codes:
            count = found.setdefault(code, {})
            count[kind] = count.get(kind, 0) + 1
    return {
        code: {kind if count == each else f"{kind}*" for kind, count in kinds.items()} for code, kinds in found.items()
    }


def both(*kinds: str) -> set[str]:
    return {*kinds, *(f"system {kind}" for kind in kinds)}


RESULTS = ("call", "text and call", "parallel calls")
WITH_TOOLS = ("tools unused", "call last", *RESULTS)
LEFT_OUT_BY_FAMILY = {
    "llama3": {"template_leaves_out_text_beside_call": both("text and call")},
    "mistral": {
        "template_leaves_out_text_beside_call": both("text and call"),
        # After the result of a tool the system message is nowhere, for the last message is no longer the user's.
        "template_leaves_out_system": {"system call", "system text and call", "system parallel calls"},
        "template_rewrites_turns": {f"system {kind}" for kind in ("turns", "thoughts", *RESULTS)},
    },
    "phi": {"template_leaves_out_tools": set(WITH_TOOLS)},
    "qwen": {},
}


@pytest.mark.few_cases(3)
@pytest.mark.parametrize("family", TEMPLATES)
def test_of_many_rows_of_every_kind_only_what_a_family_leaves_out_is_found(family: str) -> None:
    assert found_by_kind(families.bundle(family, marked=True)) == LEFT_OUT_BY_FAMILY[family]


@pytest.mark.parametrize("family", TEMPLATES)
def test_nothing_is_found_in_the_rows_of_the_golden_files(family: str) -> None:
    bundle = families.bundle(family, marked=True)
    found = {name: codes(bundle, row)[0] for name, (row, _) in ROWS.items()}
    rewritten = {"system and several turns", "tool call and its result"} if family == "mistral" else ()
    expected = {name: {"template_rewrites_turns"} if name in rewritten else set() for name in ROWS}
    if family == "mistral":
        expected["tool call and its result"] |= left_out("system")
    assert found == expected


# Templates as their vendors have them, which TRL ships with blocks around the answers.

REAL: dict[str, dict[str, set[str]]] = {
    "qwen2_5_training": {},
    "qwen3_training": {},
    "qwen3_8_training": {},
    "lfm2_v2_training": {},
    "qwen2_5": {},
    "glm4moe_training": {"template_rewrites_turns": both("thoughts")},
    "nemotron_3_nano_training": {"template_rewrites_turns": both("turns", "thoughts", *RESULTS)},
    "lfm2_training": {
        "template_leaves_out_tool_calls": both("call last", "call", "text and call", "parallel calls"),
        "no_trainable_tokens": both("call last"),
    },
    "llama3_1": {
        "template_leaves_out_text_beside_call": both("text and call"),
        "row_not_renderable": both("parallel calls"),
    },
    "llama3_training": {
        "template_leaves_out_tools": both(*WITH_TOOLS),
        "template_leaves_out_tool_calls": both("call last", "call", "text and call", "parallel calls"),
        "no_trainable_tokens": both("call last"),
    },
    "gemma3_training": {
        "template_leaves_out_tools": both("tools unused", "call last"),
        "template_leaves_out_tool_calls": both("call last"),
        "no_trainable_tokens": both("call last"),
        "row_not_renderable": both("call", "text and call", "parallel calls"),
    },
    "glm4moe": {
        "template_without_end_token": both(*(kind for kind in _KINDS if kind != "prompt")),
        "template_rewrites_turns": both("thoughts"),
    },
}


@cache
def real(name: str) -> Bundle:
    """A template of TRL over a tokenizer that has its control tokens."""
    found = find_spec("trl")  # its import would take 0.3 s
    assert found is not None
    assert found.origin is not None
    text = (Path(found.origin).parent / "chat_templates" / f"{name}.jinja").read_text(encoding="utf-8")
    core = Tokenizer.from_str(families.tokenizer("qwen").to_str())
    control = {*re.findall(r"<\|[^|\s<>]{1,40}\|>|<end_of_turn>", text), "</s>"}
    core.add_tokens([AddedToken(token, special=True, normalized=False) for token in sorted(control)])
    return Bundle.of(core.to_str(), text, {"bos_token": "<s>", "eos_token": "</s>"})


@pytest.mark.few_cases(3)
@pytest.mark.parametrize("name", REAL)
def test_of_a_real_template_exactly_what_it_leaves_out_is_found(name: str) -> None:
    assert found_by_kind(real(name), each=12) == REAL[name]


# One fault at a time, built into a template that is whole.

WHOLE = """
{%- if tools %}{{ '<|im_start|>tools\\n' + (tools | tojson) + '<|im_end|>' }}{% endif -%}
{%- for m in messages -%}
{{- '<|im_start|>' + m.role + (' ' + m.name if m.name and m.role != 'tool' else '') + '\\n' -}}
{%- if m.role == 'assistant' -%}
{%- generation -%}
{{- m.content or '' -}}
{%- for c in m.tool_calls or [] -%}{{- '<tool_call>' + (c.function | tojson) + '</tool_call>' -}}{%- endfor -%}
{{- '<|im_end|>' -}}
{%- endgeneration -%}
{%- else -%}{{- m.content + '<|im_end|>' -}}{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif -%}
"""


Changes = tuple[tuple[str, str], ...]


def changed(*changes: tuple[str, str]) -> Changes:
    return changes


def made(*changes: tuple[str, str]) -> Bundle:
    text = WHOLE.strip()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return Bundle.of(families.tokenizer("qwen").to_str(), text, families.NAMED["qwen"])


SYSTEM, USER, ANSWER = (
    message("system", "Be brief."),
    message("user", "In stock?"),
    message("assistant", "Twelve, I think."),
)
CALLED = message("assistant", "", tool_calls=[CALL])
TWO_CALLS = message("assistant", "", tool_calls=[call(1), call(2)])
RESULT = message("tool", "12", tool_call_id="call00001")
SHORT = {"messages": [USER, CALLED, RESULT, message("assistant", "12 are in stock.")], "tools": TOOLS}
STOCK: Any = TOOLS[0]["function"]
DESCRIPTION = "tools[0].function.name + tools[0].function.description"
PARAMETERS = "tools[0].function.name + (tools[0].function.parameters | tojson)"
SKIP = "{{- '<|im_start|>' + m.role"

FAULTS: dict[str, tuple[Changes, Row, set[str]]] = {
    "nothing": (changed(), {"messages": [SYSTEM, USER, ANSWER]}, set()),
    "no system message": (
        changed((SKIP, "{%- if m.role == 'system' %}{% continue %}{% endif -%}" + SKIP)),
        {"messages": [SYSTEM, USER, ANSWER]},
        left_out("system"),
    ),
    "a system message only at the start": (
        changed((SKIP, "{%- if m.role == 'system' and not loop.first %}{% continue %}{% endif -%}" + SKIP)),
        {"messages": [SYSTEM, USER, SYSTEM, ANSWER]},
        left_out("system"),
    ),
    "only the last question": (
        changed((SKIP, "{%- if m.role == 'user' and loop.index < 3 %}{% continue %}{% endif -%}" + SKIP)),
        {"messages": [USER, ANSWER, message("user", "In stock? Sure?"), ANSWER]},
        left_out("user"),
    ),
    "no tools": (changed(("{%- if tools %}", "{%- if false %}")), SHORT, left_out("tools")),
    "the first tool": (
        changed(("(tools | tojson)", "(tools[0] | tojson)")),
        {"messages": [USER, ANSWER], "tools": [*TOOLS, ORDER]},
        left_out("tools"),
    ),
    "the names of tools alone": (
        changed(("(tools | tojson)", "(tools | map(attribute='function.name') | list | tojson)")),
        SHORT,
        left_out("tool_schemas"),
    ),
    "tools without descriptions": (changed(("(tools | tojson)", f"({PARAMETERS})")), SHORT, left_out("tool_schemas")),
    "tools without parameters": (changed(("(tools | tojson)", f"({DESCRIPTION})")), SHORT, left_out("tool_schemas")),
    "tools without the descriptions of parameters": (
        changed(("(tools | tojson)", f"({DESCRIPTION} + (tools[0].function.parameters.properties | list | tojson))")),
        {**SHORT, "messages": [USER, ANSWER], "tools": [ORDER]},
        left_out("tool_schemas"),
    ),
    "no descriptions, which the tools have not": (
        changed(("(tools | tojson)", f"({PARAMETERS})")),
        {**SHORT, "tools": [{"type": "function", "function": {**STOCK, "description": ""}}]},
        set(),
    ),
    "no parameters, which the tools have not": (
        changed(("(tools | tojson)", f"({DESCRIPTION})")),
        {**SHORT, "tools": [{"type": "function", "function": {"name": "stock", "description": "x"}}]},
        set(),
    ),
    "no calls": (changed(("m.tool_calls or []", "[]")), SHORT, left_out("tool_calls")),
    "the first of two calls": (
        changed(("m.tool_calls or []", "(m.tool_calls or [])[:1]")),
        {"messages": [USER, TWO_CALLS], "tools": [ORDER]},
        left_out("tool_calls"),
    ),
    "the name of a call alone": (changed(("(c.function | tojson)", "c.function.name")), SHORT, left_out("tool_calls")),
    "the arguments of a call alone": (
        changed(("(c.function | tojson)", "(c.function.arguments | tojson)")),
        SHORT,
        left_out("tool_calls"),
    ),
    "the names of arguments alone": (
        changed(("(c.function | tojson)", "c.function.name + (c.function.arguments | list | tojson)")),
        SHORT,
        left_out("tool_calls"),
    ),
    "no result, which is a word of the answer too": (
        changed((SKIP, "{%- if m.role == 'tool' %}{% continue %}{% endif -%}" + SKIP)),
        SHORT,
        left_out("tool_result"),
    ),
    "no text beside a call": (
        changed(("m.content or ''", "'' if m.tool_calls else m.content")),
        {"messages": [USER, {**CALLED, "content": "I look."}], "tools": TOOLS},
        left_out("text_beside_call"),
    ),
    "an answer outside the block": (
        changed(("{%- generation -%}\n{{- m.content or '' -}}", "{{- m.content or '' -}}{%- generation -%}")),
        {"messages": [USER, ANSWER]},
        set(),
    ),
    "an answer that is cut": (
        changed(("m.content or ''", "m.content[:13]")),
        {"messages": [USER, ANSWER]},
        left_out("answer"),
    ),
    "a question that is cut": (changed(("m.content +", "m.content[:13] +")), SHORT, set()),
    "a longer question that is cut": (
        changed(("m.content +", "m.content[:13] +")),
        {"messages": [message("user", "What is in stock?"), ANSWER]},
        left_out("user"),
    ),
    "a thought": (
        changed(("m.content or ''", "m.content.split('</think>')[-1]")),
        {"messages": [USER, message("assistant", "<think>hm</think>Twelve.")]},
        left_out("reasoning"),
    ),
    "a name": (
        changed(("' ' + m.name if m.name and m.role != 'tool' else ''", "''")),
        {"messages": [{**USER, "name": "Ann"}, ANSWER]},
        left_out("name"),
    ),
    "the end token": (
        changed(("{{- '<|im_end|>' -}}\n{%- endgeneration", "{{- '\\n' -}}\n{%- endgeneration")),
        {"messages": [USER, ANSWER]},
        {"template_without_end_token"},
    ),
    "the end token, outside the block": (
        changed(
            (
                "{{- '<|im_end|>' -}}\n{%- endgeneration -%}",
                "{%- endgeneration -%}{{- '<|im_end|>' -}}",
            )
        ),
        {"messages": [USER, ANSWER]},
        set(),
    ),
}


@pytest.mark.few_cases(3)
@pytest.mark.parametrize(("changes", "row", "expected"), FAULTS.values(), ids=FAULTS)
def test_what_a_template_leaves_out_is_named(changes: Changes, row: Row, expected: set[str]) -> None:
    assert codes(made(*changes), row) == [expected]


@pytest.mark.few_cases(3)
@pytest.mark.parametrize(
    "form",
    [
        "m.content | trim",
        "m.content | upper",
        "m.content | tojson",
        "m.content | tojson(ensure_ascii=True)",
        "m.content | e",
        "m.content | indent(4)",
        "m.content | replace('\\n', ' ')",
        "[m.content] | string",
        "m.content | tojson | tojson",
    ],
)
def test_words_in_another_form_are_not_left_out(form: str) -> None:
    bundle = made(("m.content or ''", f"({form})"), ("m.content +", f"({form}) +"))
    rows = [row for kind, row in rows_of_every_kind(8) if "pair" not in kind]
    assert codes(bundle, *rows) == [set()] * len(rows)


def test_a_pair_is_compared_on_both_sides_and_a_prompt_up_to_the_answer() -> None:
    bundle = made((SKIP, "{%- if m.role == 'system' %}{% continue %}{% endif -%}" + SKIP))
    pair = {
        "input": {"messages": [SYSTEM, USER]},
        "preferred_output": [ANSWER],
        "non_preferred_output": [CALLED, RESULT, ANSWER],
    }
    assert codes(bundle, pair, {"messages": [SYSTEM, USER]}) == [left_out("system")] * 2
    no_calls = made(("m.tool_calls or []", "[]"))
    assert codes(no_calls, pair) == [left_out("tool_calls")]


# As Mistral's vendor has it: the system text stands before the last message, if that is the user's.
AT_THE_END = (SKIP, "{%- if m.role == 'system' %}{% continue %}{% endif -%}" + SKIP)
SYSTEM_LAST = (
    "{{- (messages[0].content if loop.last and messages[0].role == 'system' else '') + m.content + '<|im_end|>'"
)


def test_an_answer_is_learned_after_the_system_message_that_is_there_only_when_it_is_asked_for() -> None:
    bundle = made(AT_THE_END, ("{{- m.content + '<|im_end|>'", SYSTEM_LAST))
    row = {"messages": [SYSTEM, USER, ANSWER]}
    assert codes(bundle, row, {"messages": [USER, ANSWER]}) == [set(), set()]
    prompt = bundle.template.render(row["messages"][:2], ask=True)
    assert SYSTEM["content"] in prompt
    assert render_row(bundle, row)[0].text == f"{prompt}{ANSWER['content']}<|im_end|>"


def test_an_answer_that_is_written_otherwise_beside_a_system_message_is_refused() -> None:
    loud = ("m.content or ''", "(m.content | upper if messages[0].role == 'system' else m.content)")
    bundle = made(AT_THE_END, ("{{- m.content + '<|im_end|>'", SYSTEM_LAST), loud)
    found = codes(bundle, {"messages": [SYSTEM, USER, ANSWER]}, {"messages": [USER, ANSWER]})
    assert found == [{"template_not_trainable"}, set()]


def test_a_template_that_opens_an_answer_only_when_it_asks_is_named() -> None:
    bundle = made(("'<|im_start|>assistant\\n' }}", "'<|im_start|>assistant\\n<think>\\n' }}"))
    assert codes(bundle, {"messages": [USER, ANSWER]}, {"messages": [USER]}) == [
        {"template_answer_opening_differs"},
        set(),
    ]


def test_an_answer_of_which_nothing_is_seen_is_not_learned() -> None:
    for text in ("\u200b", " \n", "\ufeff\u2060 "):
        row = {"messages": [USER, message("assistant", text)]}
        assert render_row(made(), row)[0].spans == ()
        assert codes(made(), row) == [{"no_trainable_tokens"}]


def test_plain_text_without_an_end_token_is_named() -> None:
    bundle = Bundle.of(families.tokenizer("qwen").to_str(), WHOLE, {"pad_token": "<|endoftext|>"})
    assert codes(bundle, {"text": "Oil.", "item": {}}) == [{"template_without_end_token"}]


def test_many_blanks_are_judged_in_no_time() -> None:
    core = Tokenizer.from_str(families.tokenizer("qwen").to_str())
    core.add_special_tokens(["\n\n", "\n\n\n"])
    bundle = Bundle.of(core.to_str(), WHOLE.strip(), families.NAMED["qwen"])
    row = {"messages": [USER, message("assistant", "\n" * 5000 + "x")]}
    assert codes(bundle, row) == [{"some_prompt_tokens_differ"}]


HEADER, IF_REQUESTED = "{{ '<|im_start|>assistant\\n' }}", "{%- if add_generation_prompt %}"
OPENED = f"{IF_REQUESTED}{HEADER}{{% endif -%}}"
UNLESS_ANSWERED = "{%- if messages[-1].role != 'assistant' %}"


def test_a_template_that_opens_answers_otherwise_than_it_writes_them_is_refused() -> None:
    forms: dict[str, tuple[Changes, bool]] = {
        "asked": ((), True),
        "wherever none follows": (((IF_REQUESTED, UNLESS_ANSWERED),), True),
        "no header at all": (((OPENED, ""), ("+ '\\n' -}}", "+ '\\n' if m.role != 'assistant' else '' -}}")), True),
        "never": (((OPENED, ""),), False),
        "always": (((OPENED, HEADER),), False),
        "if not asked": (((IF_REQUESTED, "{%- if not add_generation_prompt %}"),), False),
    }
    bare: Changes = (("{%- generation -%}", ""), ("{%- endgeneration -%}", ""))
    rows: list[Row] = [{"messages": [USER, ANSWER]}, {"messages": [USER]}, {"messages": [SYSTEM, USER, ANSWER]}]
    found = {
        (name, len(more), n): "template_prompt_differs" in one
        for name, (changes, _) in forms.items()
        for more in ((), bare)
        for n, one in enumerate(codes(made(*changes, *more), *rows))
    }
    wrong = {key: is_found for key, is_found in found.items() if is_found is forms[key[0]][1]}
    assert wrong == {}


# What is said of a refusal.


@pytest.mark.parametrize(
    ("words", "detail"),
    [
        ("'System role not supported'", '"System role not supported"'),
        ("'Unexpected role: ' + messages[0].role + ', see the manual'", '"Unexpected role: … , see the manual"'),
        ("messages[0].content", '"…"'),
        ("'bad: ' ~ messages[0].content", '"bad: …"'),
    ],
)
def test_a_template_is_quoted_and_the_row_is_not(words: str, detail: str) -> None:
    bundle = made((SKIP, f"{{{{- raise_exception({words}) -}}}}" + SKIP))
    row = {"messages": [message("user", "Mr Miller, secret"), ANSWER]}
    (found,) = TokenCheck(bundle, NO_LIMIT).rows([row])
    assert (found.codes, found.detail) == (("row_not_renderable",), detail)


def test_a_fault_of_the_template_itself_is_named_by_its_kind() -> None:
    bundle = made((SKIP, "{{- messages[0].content + 1 -}}" + SKIP))
    assert TokenCheck(bundle, NO_LIMIT).rows([SHORT])[0].detail == "TypeError in the template"


def test_the_report_says_of_how_many_rows_a_part_is_left_out() -> None:
    findings = Findings(TOKEN_CODES)
    facts = TokenFacts(findings, made(("m.tool_calls or []", "[]")), NO_LIMIT)
    for number in range(1, 1201):
        row = SHORT if number % 3 == 0 else {"messages": [USER, ANSWER]}
        facts.add(Place("train", number, 9 * number), row, 100, held_out=False)
    facts.add(Place("eval", 1), SHORT, 100, held_out=True)
    facts.finish()
    train, held_out = findings.problems()
    assert (train.code, train.severity, train.count) == ("template_leaves_out_tool_calls", "error", 400)
    assert (train.rows[:2], train.offsets[:2]) == ((3, 6), (27, 54))
    assert "(400 of 1,200 rows)" in train.message
    assert "(1 of 1 rows)" in held_out.message
