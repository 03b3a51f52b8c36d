"""Four template families, written from their documented structure, each over a small tokenizer of its own.

`<<` and `>>` stand where an answer with its end token begins and ends: `marked` makes generation blocks of them,
`bare` nothing, as the vendors' own templates have it.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

from shared.rendering.bundle import Bundle

# Roles between header tokens, end-of-turn token; tools and their calls as JSON, results as role ipython.
LLAMA3 = """
{{- bos_token }}
{%- if messages[0]['role'] == 'system' -%}
    {%- set system = messages[0]['content'] | trim -%}
    {%- set messages = messages[1:] -%}
{%- else -%}
    {%- set system = 'Cutting Knowledge Date: December 2023' -%}
{%- endif -%}
{{- '<|start_header_id|>system<|end_header_id|>\\n\\n' + system -}}
{%- if tools is not none -%}
    {{- '\\n\\nYou have access to the following functions:\\n' -}}
    {%- for tool in tools %}{{ '\\n' + (tool | tojson(indent=2)) }}{% endfor -%}
{%- endif -%}
{{- '<|eot_id|>' -}}
{%- for message in messages -%}
    {%- if message['role'] == 'assistant' -%}
        {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' -}}
        <<
        {%- if message.tool_calls -%}
            {%- for call in message.tool_calls -%}
                {{- '{"name": "' + call.function.name + '", "parameters": ' -}}
                {{- (call.function.arguments | tojson) + '}' -}}
            {%- endfor -%}
        {%- else -%}
            {{- message['content'] | trim -}}
        {%- endif -%}
        {{- '<|eot_id|>' -}}
        >>
    {%- else -%}
        {%- set role = 'ipython' if message['role'] == 'tool' else message['role'] -%}
        {{- '<|start_header_id|>' + role + '<|end_header_id|>\\n\\n' + message['content'] | trim + '<|eot_id|>' -}}
    {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' -}}{%- endif -%}
"""

# No role names: instructions in brackets, answers after them, end of sentence after each answer. Tools stand before the
# last question. The system message stands in it only where it is the LAST MESSAGE: with an answer after it, nowhere.
# It writes what the vendor's of Mistral 7B v0.3 writes: compared to the letter, for the prompts of all rows below, with
# what kani/prompts/impl/mistral.py quotes (github.com/zhudotexe/kani, d18b2d335dc91dbb938d5c2294a1c7f18e1f27e9).
MISTRAL = """
{%- if messages[0]['role'] == 'system' -%}
    {%- set system = messages[0]['content'] -%}
    {%- set messages = messages[1:] -%}
{%- endif -%}
{%- set last = namespace(question=-1) -%}
{%- for message in messages if message['role'] == 'user' -%}{%- set last.question = loop.index0 -%}{%- endfor -%}
{%- set seen = namespace(questions=0) -%}
{{- bos_token -}}
{%- for message in messages -%}
    {%- if message['role'] == 'user' -%}
        {%- if tools is not none and seen.questions == last.question -%}
            {{- '[AVAILABLE_TOOLS] [' -}}
            {%- for tool in tools -%}
                {{- '{"type": "function", "function": {' -}}
                {%- for key, value in tool.function.items() -%}
                    {{- '"' + key + '": ' + ('"' + value + '"' if value is string else value | tojson) -}}
                    {%- if not loop.last %}{{ ', ' }}{% endif -%}
                {%- endfor -%}
                {{- '}}' + (']' if loop.last else ', ') -}}
            {%- endfor -%}
            {{- '[/AVAILABLE_TOOLS]' -}}
        {%- endif -%}
        {{- '[INST] ' + (system + '\\n\\n' if loop.last and system is defined else '') -}}
        {{- message['content'] + '[/INST]' -}}
        {%- set seen.questions = seen.questions + 1 -%}
    {%- elif message['role'] == 'tool' -%}
        {{- '[TOOL_RESULTS] {"content": ' + message['content'] + ', "call_id": "' + message['tool_call_id'] + '"}' -}}
        {{- '[/TOOL_RESULTS]' -}}
    {%- elif message['role'] == 'assistant' -%}
        <<
        {%- if message.tool_calls -%}
            {{- '[TOOL_CALLS] [' -}}
            {%- for call in message.tool_calls -%}
                {{- (call.function | tojson)[:-1] + ', "id": "' + call.id + '"}' + (']' if loop.last else ', ') -}}
            {%- endfor -%}
        {%- else -%}
            {{- ' ' + message['content'] | trim -}}
        {%- endif -%}
        {{- eos_token -}}
        >>
    {%- else -%}
        {{- raise_exception('only user, assistant and tool follow the system message') -}}
    {%- endif -%}
{%- endfor -%}
"""

# One token a role, one that ends a message; tools inside the system message.
PHI = """
{%- for message in messages -%}
    {%- if message['role'] == 'assistant' -%}
        {{- '<|assistant|>' -}}
        <<
        {%- for call in message.tool_calls or [] -%}
            {{- '<|tool_call|>' + (call.function | tojson) + '<|/tool_call|>' -}}
        {%- endfor -%}
        {{- message['content'] or '' -}}
        {{- '<|end|>' -}}
        >>
    {%- elif message['role'] == 'system' and tools is not none -%}
        {{- '<|system|>' + message['content'] + '<|tool|>' + (tools | tojson) + '<|/tool|><|end|>' -}}
    {%- else -%}
        {%- set role = 'user' if message['role'] == 'tool' else message['role'] -%}
        {{- '<|' + role + '|>' + message['content'] + '<|end|>' -}}
    {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt %}{{ '<|assistant|>' }}{% endif -%}
"""

# ChatML with Qwen's forms: a default system message, tools in XML, results grouped into one user message.
QWEN = """
{%- set system = 'You are a helpful assistant.' -%}
{%- if messages[0]['role'] == 'system' -%}{%- set system = messages[0]['content'] -%}{%- endif -%}
{{- '<|im_start|>system\\n' + system -}}
{%- if tools -%}
    {{- '\\n\\n# Tools\\n<tools>' -}}
    {%- for tool in tools %}{{ '\\n' + (tool | tojson) }}{% endfor -%}
    {{- '\\n</tools>' -}}
{%- endif -%}
{{- '<|im_end|>\\n' -}}
{%- for message in messages -%}
    {%- if message['role'] == 'assistant' -%}
        {{- '<|im_start|>assistant\\n' -}}
        <<
        {%- if message['content'] %}{{ message['content'] }}{% endif -%}
        {%- for call in message.tool_calls or [] -%}
            {%- if not loop.first or message['content'] %}{{ '\\n' }}{% endif -%}
            {{- '<tool_call>\\n' + (call.function | tojson) + '\\n</tool_call>' -}}
        {%- endfor -%}
        {{- '<|im_end|>' -}}
        >>
        {{- '\\n' -}}
    {%- elif message['role'] == 'tool' -%}
        {%- if loop.previtem and loop.previtem['role'] != 'tool' %}{{ '<|im_start|>user' }}{% endif -%}
        {{- '\\n<tool_response>\\n' + message['content'] + '\\n</tool_response>' -}}
        {%- if loop.last or loop.nextitem['role'] != 'tool' %}{{ '<|im_end|>\\n' }}{% endif -%}
    {%- elif message['role'] != 'system' -%}
        {{- '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' -}}
    {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif -%}
"""

TEMPLATES = {"llama3": LLAMA3, "mistral": MISTRAL, "phi": PHI, "qwen": QWEN}
NAMED = {
    "llama3": {"bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>"},
    "mistral": {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"},
    "phi": {"bos_token": "<|endoftext|>", "eos_token": "<|end|>", "pad_token": "<|endoftext|>"},
    "qwen": {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"},
}
# Control tokens that the tokenizer calls special, and those it does not.
SPECIAL = {
    "llama3": (
        "<|begin_of_text|>",
        "<|start_header_id|>",
        "<|end_header_id|>",
        "<|eot_id|>",
        "<|reserved_special_token_0|>",
    ),
    "mistral": (
        "<unk>",
        "<s>",
        "</s>",
        "[INST]",
        "[/INST]",
        "[AVAILABLE_TOOLS]",
        "[/AVAILABLE_TOOLS]",
        "[TOOL_CALLS]",
        "[TOOL_RESULTS]",
        "[/TOOL_RESULTS]",
    ),
    "phi": ("<|endoftext|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>", "<|tool|>", "<|/tool|>"),
    "qwen": ("<|endoftext|>", "<|im_start|>", "<|im_end|>"),
}
PLAIN_ADDED = {"phi": ("<|tool_call|>", "<|/tool_call|>"), "qwen": ("<tool_call>", "</tool_call>")}
END = {"llama3": "<|eot_id|>", "mistral": "</s>", "phi": "<|end|>", "qwen": "<|im_end|>"}
# Mistral's writes a space between the brackets and the answer.
BEFORE_ANSWER = {"mistral": " "}

_TEXT = (
    "Which part is this? The part is a bolt, and the size is M5. In stock? Twelve are in stock in Zürich. Be brief. "
    "Sure? No, a bolt. Complete the order: two bolts and a nut. A nut, M5.\n\nThe size? You are a helpful assistant.\n"
    "system user assistant tools tool_response ipython arguments content call_id functions access date\n"
)


@cache
def tokenizer(family: str) -> Tokenizer:
    """Byte-level BPE with a few merges: words are one or several tokens, any text can be encoded."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=700,
        special_tokens=list(SPECIAL[family]),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    core.train_from_iterator([_TEXT, json.dumps(TOOLS)] * 4, trainer)
    core.add_tokens([AddedToken(token, special=False, normalized=False) for token in PLAIN_ADDED.get(family, ())])
    return core


def template(family: str, *, marked: bool) -> str:
    opened, closed = ("{%- generation -%}", "{%- endgeneration -%}") if marked else ("", "")
    return TEMPLATES[family].strip().replace("<<", opened).replace(">>", closed)


@cache
def bundle(family: str, *, marked: bool) -> Bundle:
    return Bundle.of(tokenizer(family).to_str(), template(family, marked=marked), NAMED[family])


def write(family: str, folder: Path, *, marked: bool = True) -> Path:
    """The three files of a tokenizer bundle."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.json").write_text(tokenizer(family).to_str(), encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps(NAMED[family]), encoding="utf-8")
    (folder / "chat_template.jinja").write_text(template(family, marked=marked), encoding="utf-8")
    return folder


def message(role: str, content: str | None, **more: Any) -> dict[str, Any]:
    return {"role": role, "content": content, **more}


TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "stock",
            "description": "How many are in stock",
            "parameters": {"type": "object", "properties": {"part": {"type": "string"}}, "required": ["part"]},
        },
    }
]
CALL = {"id": "call00001", "type": "function", "function": {"name": "stock", "arguments": '{"part": "bolt Zürich"}'}}

# Canonical rows, as the validator writes them, and the answers that loss falls on; None: the call of `CALL`.
ROWS: dict[str, tuple[dict[str, Any], tuple[str | None, ...]]] = {
    "system and one answer": (
        {
            "messages": [
                message("system", "Be brief."),
                message("user", "Which part is this?"),
                message("assistant", "A bolt."),
            ]
        },
        ("A bolt.",),
    ),
    "several turns": (
        {
            "messages": [
                message("user", "Which part is this?"),
                message("assistant", "A bolt."),
                message("user", "In stock?"),
                message("assistant", "Twelve are in\n\nZürich 🔩"),
            ]
        },
        ("A bolt.", "Twelve are in\n\nZürich 🔩"),
    ),
    "system and several turns": (
        {
            "messages": [
                message("system", "Be brief."),
                message("user", "Which part is this?"),
                message("assistant", "A bolt."),
                message("user", "The size?"),
                message("assistant", "M5."),
            ]
        },
        ("A bolt.", "M5."),
    ),
    "tool call and its result": (
        {
            "messages": [
                message("system", "Be brief."),
                message("user", "In stock?"),
                message("assistant", "", tool_calls=[CALL]),
                message("tool", "12", tool_call_id="call00001"),
                message("assistant", "Twelve are in stock."),
            ],
            "tools": TOOLS,
        },
        (None, "Twelve are in stock."),
    ),
    "first answer has weight 0": (
        {
            "messages": [
                message("user", "Which part is this?"),
                message("assistant", "A nut.", weight=0),
                message("user", "Sure?"),
                message("assistant", "No, a bolt.", weight=1),
            ]
        },
        ("No, a bolt.",),
    ),
    "prompt and completion": (
        {"messages": [message("user", "Complete the order:"), message("assistant", " two bolts and a nut")]},
        (" two bolts and a nut",),
    ),
}
