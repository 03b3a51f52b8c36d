"""Templates of many vendors: what is learned of a row follows, to the letter, the text that asks for it when served.

Texts are TRL's copies of the vendors' own where it has them. After an intended change:
DROPTUNE_WRITE_GOLDEN=1 pytest tests/unit/shared/rendering/test_rows_templates.py; read the difference.
"""

from __future__ import annotations

import os
import random
import re
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from tokenizers import AddedToken, Tokenizer

from shared.domain.prompts import prompt_before
from shared.rendering.bundle import Bundle
from shared.rendering.check import TOKEN_CODES, LengthPolicy, TokenCheck
from shared.rendering.rows import Rendered, render_prompt, render_row
from tests.paths import ROOT
from tests.unit.shared.rendering import families
from tests.unit.shared.rendering.families import CALL, TOOLS, message

Row = dict[str, Any]
GOLDEN = ROOT / "tests" / "golden"
_TRL = find_spec("trl")  # its import would take 0.3 s
assert _TRL is not None
assert _TRL.origin is not None
FOLDER = Path(_TRL.origin).parent / "chat_templates"

# Written here, because TRL has none: each writes what its vendor's writes, but for what is said.
OTHERS = {
    "mistral_7b_v0_3": families.template("mistral", marked=False),  # see there
    # microsoft/phi-4
    "phi4": """
{%- for m in messages if m.role in ('system', 'user', 'assistant') -%}
    {{- '<|im_start|>' + m.role + '<|im_sep|>' + m.content + '<|im_end|>' -}}
{%- endfor -%}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant<|im_sep|>' }}{% endif -%}
""",
    # microsoft/Phi-4-mini-instruct: tools are read from the system message, where no request has them
    "phi4_mini": """
{%- for m in messages %}{{ '<|' + m.role + '|>' + m.content + '<|end|>' }}{% endfor -%}
{{- '<|assistant|>' if add_generation_prompt else eos_token -}}
""",
    # HuggingFaceTB/SmolLM3-3B without its own instructions and tools, as github.com/EricLBuehler/mistral.rs has it in
    # chat_templates/smollm3.jinja (85dcfbef20ebc770872950d57b8434c0e1ff2b62)
    "smollm3": """
{%- set given = messages[0].content if messages[0].role == 'system' else '' -%}
{%- set mode = '/no_think' if '/no_think' in given else '/think' -%}
{%- set own = given.replace('/no_think', '').replace('/think', '').rstrip() -%}
{{- '<|im_start|>system\\n## Metadata\\n\\nKnowledge Cutoff Date: June 2025\\nToday Date: ' -}}
{{- strftime_now('%d %B %Y') + '\\nReasoning Mode: ' + mode + '\\n\\n## Custom Instructions\\n\\n' -}}
{{- (own or 'DEFAULT') + '\\n\\n' -}}
{%- for m in messages if m.role != 'system' -%}
    {{- '<|im_start|>' + ('user' if m.role == 'tool' else m.role) + '\\n' -}}
    {{- '<think>\\n\\n</think>\\n' if m.role == 'assistant' and mode == '/no_think' else '' -}}
    {{- (m.content.lstrip('\\n') if m.role == 'assistant' else m.content) + '<|im_end|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{- '<|im_start|>assistant\\n' + ('' if mode == '/think' else '<think>\\n\\n</think>\\n') -}}
{%- endif -%}
""",
    # ibm-granite/granite-3.0-8b-instruct, as github.com/ggml-org/llama.cpp quotes it in tests/test-chat-template.cpp
    "granite": """
{%- if tools -%}
    {{- '<|start_of_role|>available_tools<|end_of_role|>\\n' -}}
    {%- for tool in tools %}{{ tool | tojson(indent=4) + ('' if loop.last else '\\n\\n') }}{% endfor -%}
    {{- '<|end_of_text|>\\n' -}}
{%- endif -%}
{%- for m in messages if m.role in ('system', 'user', 'assistant') -%}
    {{- '<|start_of_role|>' + m.role + '<|end_of_role|>' + m.content + '<|end_of_text|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt %}{{ '<|start_of_role|>assistant<|end_of_role|>' }}{% endif -%}
""",
}
BUNDLED = sorted(path.stem for path in FOLDER.glob("*.jinja"))
SHOWN = (
    *OTHERS,
    *("deepseek_r1_distill", "deepseekv3", "gemma3", "gptoss", "llama3_1", "llama3_2", "phi3", "qwen2_5", "qwen3"),
    *("qwen3_5_nothink", "qwen3_5_think", "nemotron_3_nano"),
)
_CONTROL = re.compile(
    r"<\|[^|\s<>]{1,40}\|?>|<[a-z_]{1,40}\|>|<\uff5c[^\uff5c\s<>]{1,40}\uff5c>|<(?:start|end)_of_(?:turn|utterance)>|\[/?[A-Z_]{3,}\]"
)
_EOS = {"deepseekv3": "<\uff5cend▁of▁sentence\uff5c>", "deepseek_r1_distill": "<\uff5cend▁of▁sentence\uff5c>"}


@cache
def bundle(name: str) -> Bundle:
    """A template over a tokenizer that has its control tokens."""
    text = OTHERS.get(name) or (FOLDER / f"{name}.jinja").read_text(encoding="utf-8")
    core = Tokenizer.from_str(families.tokenizer("qwen").to_str())
    eos = _EOS.get(name.removesuffix("_training"), "</s>")
    tokens = sorted({*_CONTROL.findall(text), "<s>", eos})
    core.add_tokens([AddedToken(token, special=True, normalized=False) for token in tokens])
    return Bundle.of(core.to_str(), text.strip() if name in OTHERS else text, {"bos_token": "<s>", "eos_token": eos})


SYSTEM, USER, ANSWER = message("system", "Be brief."), message("user", "Which part?"), message("assistant", "A bolt.")
NEXT, LAST = message("user", "The size?"), message("assistant", "M5.")
CALLED, RESULT = message("assistant", "", tool_calls=[CALL]), message("tool", "12", tool_call_id="call00001")
THOUGHT = message("assistant", "<think>\nIt has a head.\n</think>\n\nA bolt.")
AGAIN = message("assistant", "<think>\nIt says five.\n</think>\n\nM5.")
ROWS: dict[str, Row] = {
    "one answer": {"messages": [USER, ANSWER]},
    "system": {"messages": [SYSTEM, USER, ANSWER]},
    "turns": {"messages": [USER, ANSWER, NEXT, LAST]},
    "system and turns": {"messages": [SYSTEM, USER, ANSWER, NEXT, LAST]},
    "tools": {"messages": [SYSTEM, USER, CALLED, RESULT, message("assistant", "Twelve.")], "tools": TOOLS},
    "call": {"messages": [USER, CALLED], "tools": TOOLS},
    "thought": {"messages": [USER, THOUGHT]},
    "thoughts": {"messages": [USER, THOUGHT, NEXT, AGAIN]},
}


def golden(path: Path, found: str) -> None:
    if os.environ.get("DROPTUNE_WRITE_GOLDEN"):
        path.write_text(found, encoding="utf-8")
    assert found == path.read_text(encoding="utf-8")


def codes(name: str, row: Row) -> tuple[list[str], list[str]]:
    """What refuses the row, and what is said of it."""
    (found,) = TokenCheck(bundle(name), LengthPolicy(None, "reject")).rows([row])
    errors = [code for code in found.codes if TOKEN_CODES[code].severity == "error"]
    return errors, [code for code in found.codes if code not in errors]


@pytest.mark.ci
def test_which_rows_each_template_of_trl_trains_on() -> None:
    lines, trained = [], dict.fromkeys(ROWS, 0)
    for name in BUNDLED:
        lines.append(f"# {name}")
        for kind, row in ROWS.items():
            errors, warnings = codes(name, row)
            trained[kind] += not errors
            if errors or warnings:
                lines.append(f"{kind}: {'refused' if errors else 'trained'}: {', '.join(sorted(errors) or warnings)}")
    lines += ["", f"# of {len(BUNDLED)} templates train on", *(f"{kind}: {count}" for kind, count in trained.items())]
    golden(GOLDEN / "templates.txt", "\n".join(lines) + "\n")


def shown(text: Rendered) -> str:
    parts, at = [], 0
    for start, end in text.spans:
        parts += [text.text[at:start], "⟦", text.text[start:end], "⟧"]
        at = end
    return "".join([*parts, text.text[at:]]).replace("\n", "⏎\n")


@pytest.mark.few_cases(5)
@pytest.mark.parametrize("name", SHOWN)
def test_what_is_learned_of_a_vendors_template(name: str) -> None:
    parts = []
    for kind, row in ROWS.items():
        errors, warnings = codes(name, row)
        texts = [] if errors else map(shown, render_row(bundle(name), row))
        parts.append("\n".join([f"##### {' '.join([kind, *errors, *warnings])}", "\n-----\n".join(texts)]).rstrip())
    golden(GOLDEN / "masks" / "vendors" / f"{name}.txt", "\n\n".join(parts) + "\n")


# Generated dialogues, each word of which is of one message.


def words(chance: random.Random, role: str, number: int) -> str:
    made = f"{role}{number}x{chance.randrange(10**6)}"
    return chance.choice((made, f"{made}\n\n{made}", f"It is {made}, or <b>{made}</b> 🔩", f"{made}?"))


def dialogue(chance: random.Random) -> Row:
    messages = [message("system", words(chance, "system", 0))] if chance.random() < 0.5 else []
    tools = TOOLS if chance.random() < 0.3 else None
    for turn in range(1, chance.randrange(2, 5)):
        messages.append(message("user", words(chance, "user", turn)))
        if tools and chance.random() < 0.5:
            call = {**CALL, "id": f"call0000{turn}"}
            messages.append(message("assistant", "", tool_calls=[call]))
            messages.append(message("tool", words(chance, "tool", turn), tool_call_id=call["id"]))
        thought = f"<think>\n{words(chance, 'thought', turn)}\n</think>\n\n" if chance.random() < 0.3 else ""
        weight = {"weight": 0} if chance.random() < 0.2 else {}
        messages.append(message("assistant", thought + words(chance, "answer", turn), **weight))
    return {"messages": messages, "tools": tools}


def learned(name: str, text: Rendered) -> Iterator[tuple[int, str, str]]:
    """Index of each message that is learned in a text, what stands before it, and what is learned."""
    at = [
        index for index, one in enumerate(text.row["messages"]) if one["role"] == "assistant" and one.get("weight", 1)
    ]
    assert len(at) == len(text.spans), name
    for index, (start, end) in zip(at, text.spans, strict=True):
        yield index, text.text[:start], text.text[start:end]


@pytest.mark.ci
def test_what_is_learned_follows_what_is_served_and_is_all_that_the_assistant_says() -> None:
    chance, seen = random.Random(11), 0
    for name in (*BUNDLED, *OTHERS):
        for _ in range(12):
            row = dialogue(chance)
            if codes(name, row)[0]:
                continue
            answers = []
            for text in render_row(bundle(name), row):
                for index, before, answer in learned(name, text):
                    assert before == render_prompt(bundle(name), prompt_before(row, index)).text, name
                    assert answer.endswith(bundle(name).end_tokens), name
                    assert not re.search(r"(?:user|system|tool)\dx", answer), name
                    marks = re.findall(r"answer\dx\d+", row["messages"][index]["content"]) or ["stock"]
                    assert marks[-1] in answer, name
                    answers.append(index)
                    seen += 1
            expected = [
                i for i, one in enumerate(row["messages"]) if one["role"] == "assistant" and one.get("weight", 1)
            ]
            assert answers == expected, name
    assert seen > 800
