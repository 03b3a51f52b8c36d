"""What the emulator's endpoints refuse as vLLM does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from local_stack.azure_ml.serving import refusal
from shared.domain.errors import PermanentFailure
from shared.domain.prompts import prompt_of
from shared.rendering.bundle import read_bundle_folder
from shared.rendering.rows import render_prompt, tokenize
from tests.paths import ROOT
from tests.unit.local_stack.azure_ml.deployed import HELLO, created, endpoint_with
from tests.unit.local_stack.azure_ml.support import Local

TINY = ROOT / "local_stack" / "tiny_base" / "weights"
TOOLS = [{"type": "function", "function": {"name": "find", "parameters": {"type": "object"}}}]


def length(tools: Any = None) -> int:
    bundle = read_bundle_folder(TINY)
    (tokens,) = tokenize(bundle, [render_prompt(bundle, prompt_of({**HELLO.body(), "tools": tools}))])
    return len(tokens)


def refused(served: int | None, **fields: Any) -> dict[str, Any] | None:
    variables = {} if served is None else {"MAX_MODEL_LEN": str(served), "TOOL_CALL_PARSER": "hermes"}
    found = refusal(json.dumps({**HELLO.body(), **fields}).encode(), variables, TINY)
    return None if found is None else dict(found["error"])


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
@pytest.mark.parametrize("tools", [None, TOOLS])
@pytest.mark.parametrize("answer", [1, 40])
def test_a_prompt_that_leaves_no_room_for_its_answer_is_refused_from_one_token_on(
    name: str, tools: Any, answer: int
) -> None:
    fits = length(tools) + answer
    assert refused(fits, tools=tools, **{name: answer}) is None
    error = refused(fits - 1, tools=tools, **{name: answer})
    assert error is not None
    assert (error["type"], error["code"]) == ("BadRequestError", 400)
    prompt = length(tools)
    assert error["message"].startswith(
        f"This model's maximum context length is {fits - 1} tokens. However, you requested {answer} output tokens and "
        f"your prompt contains at least {prompt} input tokens, for a total of at least {fits} tokens."
    )


@pytest.mark.parametrize(
    ("choice", "is_refused"), [({}, True), ({"tool_choice": "auto"}, True), ({"tool_choice": "none"}, False)]
)
def test_tools_need_a_parser_where_the_model_may_call_them(choice: dict[str, str], is_refused: bool) -> None:
    error = refused(None, tools=TOOLS, **choice)
    assert (error is not None) is is_refused
    assert refused(4096, tools=TOOLS, **choice) is None
    if error:
        expected = '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set'
        assert (error["message"], error["code"]) == (expected, 400)


def test_what_no_limit_is_known_for_and_what_is_no_request_is_left_to_the_server(tmp_path: Path) -> None:
    assert refused(None, max_tokens=10**6) is None
    assert refusal(b'{"messages": [], "max_tokens": 9}', {"MAX_MODEL_LEN": "5"}, tmp_path) is None
    for body in (b"", b"[]", b"null", b'{"prompt": "x"}', b'{"messages": [], "max_tokens": "x"}', b"\xff"):
        assert refusal(body, {"MAX_MODEL_LEN": "1"}, TINY) is None


def test_the_endpoint_answers_a_refusal_as_the_containers_own_which_is_final(local: Local) -> None:
    name = endpoint_with(local, "strict")
    for file in TINY.iterdir():
        (local.blobs / "models" / "champion" / file.name).write_bytes(file.read_bytes())
    created(local, name, "blue", environment_variables={"MAX_MODEL_LEN": "64"})
    assert local.client.chat(name, HELLO, deployment="blue", max_tokens=8).text == "champion: hello"
    with pytest.raises(PermanentFailure) as failed:
        local.client.chat(name, HELLO, deployment="blue", max_tokens=64)
    problem = failed.value.problem
    assert problem.code == "container_refused"
    assert problem.message.startswith("the container of strict answered 400: ")
    assert "This model's maximum context length is 64 tokens." in problem.message
