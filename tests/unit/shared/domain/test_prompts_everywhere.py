"""The same row asks the same tokens wherever it is asked: by validation, training, evaluation, probe and server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from openai.types.chat import ChatCompletionMessageFunctionToolCallParam
from pydantic import BaseModel, ConfigDict, TypeAdapter

from shared.domain.evaluation import GradedRow
from shared.domain.prompts import as_dialogue, prompt_of
from shared.rendering.bundle import Bundle, read_bundle_folder
from shared.rendering.check import LengthPolicy, readings
from shared.rendering.rows import render_prompt, tokenize
from shared.rendering.template import TemplateNotTrainable
from shared.steps.probe_deployments import _prompt
from shared.validation.intake import ExpectedRows, open_rows
from shared.validation.rows import read_row
from tests.unit.shared.rendering import families
from tests.unit.shared.rendering.families import TOOLS, message
from training_job.data.chat_rows import IGNORED, encode_file, encode_pairs, encode_prompts

Row = dict[str, Any]
ANSWER = message("assistant", "<think>Look it up.</think>A bolt, M5.")
QUESTION = message("user", "Which part is this?")
CALL = message("assistant", "I look.", tool_calls=[families.CALL])
RESULT = message("tool", "12", tool_call_id="call00001", name="stock")
# Other fields, in another order than a server has them.
BARE_TOOL = {"function": {"strict": True, "parameters": {"type": "object"}, "name": "stock"}, "type": "function"}
# What may stand before the answer that is asked for, and the tools.
CONTEXTS: dict[str, tuple[list[Row], list[Row] | None]] = {
    "plain": ([QUESTION], None),
    "no tools": ([QUESTION], []),
    "tools": ([QUESTION], TOOLS),
    "tools of few fields": ([QUESTION], [BARE_TOOL]),
    "system": ([message("system", "Be brief."), QUESTION], None),
    "developer": ([message("developer", "Be brief."), QUESTION], None),
    "several turns": ([QUESTION, ANSWER, message("user", "In stock?")], None),
    "an answer of weight 0": ([QUESTION, {**ANSWER, "weight": 0}, message("user", "Sure?", weight=None)], None),
    "system, tools and turns": ([message("system", "Be brief."), QUESTION, ANSWER, message("user", "Sure?")], TOOLS),
    "the result of a tool": ([message("system", "Be brief."), QUESTION, CALL, RESULT], TOOLS),
    "a question after a tool": ([QUESTION, CALL, RESULT, ANSWER, message("user", "Sure?")], TOOLS),
    "names": ([message("user", "Which part is this?", name="Ada")], None),
}


def chat(context: list[Row], tools: list[Row] | None) -> Row:
    return {"messages": [*context, ANSWER], "tools": tools}


def not_last_learned(context: list[Row], tools: list[Row] | None) -> Row:
    return {
        "messages": [*context, ANSWER, message("user", "Sure?"), message("assistant", "No.", weight=0)],
        "tools": tools,
    }


def ends_with_call(context: list[Row], tools: list[Row] | None) -> Row:
    again = {**families.CALL, "id": "call00002"}
    return {"messages": [*context, message("assistant", None, tool_calls=[again])], "tools": tools or TOOLS}


def pair(context: list[Row], tools: list[Row] | None) -> Row:
    other = message("assistant", "A nut.")
    return {
        "input": {"messages": context, "tools": tools},
        "preferred_output": [ANSWER],
        "non_preferred_output": [other],
    }


def pair_with_loop(context: list[Row], tools: list[Row] | None) -> Row:
    call = message("assistant", "I look again.", tool_calls=[{**families.CALL, "id": "call00002"}])
    loop = [call, {**RESULT, "tool_call_id": "call00002"}, ANSWER]
    return {**pair(context, tools or TOOLS), "preferred_output": loop}


def prompt(context: list[Row], tools: list[Row] | None) -> Row:
    return {"messages": context, "tools": tools, "answer": "bolt"}


PROMPTS_WITH_SYSTEM = ("system", "developer", "system, tools and turns")
FORMS = (chat, not_last_learned, ends_with_call, pair, pair_with_loop, prompt)
# Writes names, and of earlier answers no thoughts, as templates of models that reason do.
CONTENT, ROLE = "{{ message['content'] }}", "message['role'] + '\\n'"
REASONING = families.QWEN.replace(
    CONTENT, "{{ message['content'].split('</think>')[-1] if not loop.last else message['content'] }}"
).replace(ROLE, "message['role'] + (message.name or '') + '\\n'")


# What each template here reads of its arguments.
READS = "{%- if enable_thinking is defined and not enable_thinking %}{{ 'Do not think.' }}{% endif -%}"
ARGUMENTS = {"enable_thinking": False}


@pytest.fixture(scope="module", params=[*families.TEMPLATES, "reasoning"])
def folders(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, torch: Any) -> tuple[Path, Path]:
    """A tokenizer as a base model's folder has it, and as the tuned model is saved with it."""
    from transformers import PreTrainedTokenizerFast

    from training_job.model.quantized import load_tokenizer

    family = "qwen" if request.param == "reasoning" else request.param
    text = families.template(family, marked=True)
    if request.param == "reasoning":
        text = REASONING.strip().replace("<<", "{%- generation -%}").replace(">>", "{%- endgeneration -%}")
        assert text.count("</think>") == text.count("message.name") == 1
    made = tmp_path_factory.mktemp(request.param)
    named = families.NAMED[family]
    core = families.tokenizer(family)
    PreTrainedTokenizerFast(tokenizer_object=core, chat_template=READS + text, **named).save_pretrained(made)
    (made / "config.json").write_text(json.dumps({"model_type": "llama", "vocab_size": 1000}))
    load_tokenizer(made, ARGUMENTS).save_pretrained(made / "tuned")
    return made, made / "tuned"


def canonical(row: Row) -> Row:
    line = json.dumps(row).encode()
    expected = ExpectedRows(prompts="answer" in row)
    intake = open_rows([line + b"\n"], expected)
    assert intake.form is not None
    read, codes = read_row(line, intake.form)
    assert read is not None, codes
    return dict(json.loads(read.canonical))


def before_last(ids: list[int], spans: list[tuple[int, int]]) -> list[int]:
    return ids[: spans[-1][0]] if spans else ids


def validated(bundle: Bundle, row: Row) -> list[int]:
    """Up to the answer that is evaluated, which the last text has; of a pair the preferred side."""
    (tokens,) = tokenize(bundle, [readings(bundle, row)[0 if "input" in row else -1]])
    spans = [span for span in tokens.spans if span[0] < span[1]]
    return before_last(list(tokens.encoding.ids), spans)


def trained(bundle: Bundle, row: Row, file: Path) -> list[int]:
    file.write_bytes(json.dumps(row).encode() + b"\n")
    policy = LengthPolicy(None, "reject")
    if "input" in row:
        encoded = encode_pairs(file, bundle, policy).rows[0].chosen
    elif row["messages"][-1]["role"] != "assistant":
        return encode_prompts(file, bundle, policy).rows[0].ids
    else:
        encoded = encode_file(file, bundle, policy).rows[-1]
    learned = [label != IGNORED for label in encoded.labels]
    starts = [(i, i + 1) for i, here in enumerate(learned) if here and (i == 0 or not learned[i - 1])]
    return before_last(list(encoded.input_ids), starts)


def evaluated(bundle: Bundle, row: Row) -> list[int]:
    from training_job.evaluation.answers import question

    return question(bundle, as_dialogue(row), 1).ids


def request_of(row: Row) -> Row:
    """What the probe sends, as it is on the wire."""
    graded = GradedRow(row=1, scores={}, answers={"candidate": "a", "base": "b"})
    return dict(json.loads(json.dumps(_prompt(graded, [json.dumps(row).encode()]).body())))


class Function(BaseModel):
    """vLLM's FunctionDefinition."""

    model_config = ConfigDict(extra="allow")
    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None


class Tool(BaseModel):
    """vLLM's ChatCompletionToolsParam."""

    model_config = ConfigDict(extra="allow")
    type: str = "function"
    function: Function


def as_local(body: Row) -> tuple[list[Row], Any]:
    """What the server of the local stack gives to the template."""
    from transformers.cli.serving.utils import Modality

    from local_stack.azure_ml.chat_server import read_messages

    return read_messages(body["messages"], Modality.LLM), body.get("tools")


def as_vllm(body: Row) -> tuple[list[Row], Any]:
    """What vLLM gives to it: tools read and dumped whole, calls in the order of their type, arguments as objects."""
    calls = TypeAdapter(list[ChatCompletionMessageFunctionToolCallParam])
    for one in [one for one in body["messages"] if "tool_calls" in one]:
        one["tool_calls"] = calls.validate_python(one["tool_calls"])
        for call in one["tool_calls"]:
            call["function"]["arguments"] = json.loads(call["function"]["arguments"])
    tools = body.get("tools")
    return body["messages"], tools and [Tool.model_validate(tool).model_dump() for tool in tools]


def served(theirs: Any, row: Row) -> Iterator[list[int]]:
    for read in (as_local, as_vllm):
        messages, tools = read(request_of(row))
        yield list(theirs.apply_chat_template(messages, tools=tools, add_generation_prompt=True, return_dict=False))


@pytest.mark.few_cases(4)
@pytest.mark.parametrize("form", FORMS)
def test_a_row_asks_the_same_tokens_everywhere(folders: tuple[Path, Path], form: Any, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    base, tuned = folders
    bundle, theirs = read_bundle_folder(base, ARGUMENTS), AutoTokenizer.from_pretrained(tuned, local_files_only=True)
    assert read_bundle_folder(tuned).sha256 == bundle.sha256
    assert "Do not think." in render_prompt(bundle, prompt_of(canonical(form(*CONTEXTS["plain"])))).text
    other = theirs.apply_chat_template([QUESTION], tokenize=False, enable_thinking=True)
    assert "Do not think." not in other
    for name, context in CONTEXTS.items():
        row = canonical(form(*context))
        expected = evaluated(bundle, row)
        if form is pair_with_loop and base.name.startswith("mistral") and name in PROMPTS_WITH_SYSTEM:
            # Of one output two texts, with and without the system message, which cannot be compared as one.
            with pytest.raises(TemplateNotTrainable):
                readings(bundle, row)
            continue
        assert validated(bundle, row) == expected, name
        assert trained(bundle, row, tmp_path / "rows.jsonl") == expected, name
        assert list(served(theirs, row)) == [expected, expected], name
