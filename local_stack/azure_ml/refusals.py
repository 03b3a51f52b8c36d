"""What vLLM refuses before it answers, in its words: the server of a laptop reads on beyond every limit."""

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from shared.domain.prompts import prompt_before
from shared.rendering.bundle import read_bundle_folder
from shared.rendering.rows import render_prompt, tokenize

_bundle = cache(read_bundle_folder)


def refusal(body: bytes, variables: Mapping[str, str], model: Path) -> dict[str, Any] | None:
    """The error of status 400 that a chat request to a deployment with these variables gets; None if it is served."""
    try:
        fields = json.loads(body)
        prompt = prompt_before(fields, None)
        answer = int(fields.get("max_completion_tokens") or fields.get("max_tokens") or 0)
        if prompt.tools and fields.get("tool_choice", "auto") == "auto" and "TOOL_CALL_PARSER" not in variables:
            return _error('"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set')
        served = int(variables["MAX_MODEL_LEN"])
        (tokens,) = tokenize(_bundle(model), [render_prompt(_bundle(model), prompt)])
    except Exception:  # no limit, no tokenizer, no request; a template may raise anything: the server says so
        return None
    least = max(0, served - answer) + 1
    if len(tokens) < least:
        return None
    return _error(
        f"This model's maximum context length is {served} tokens. However, you requested {answer} output tokens and "
        f"your prompt contains at least {least} input tokens, for a total of at least {least + answer} tokens. Please "
        "reduce the length of the input prompt or the number of requested output tokens. "
        f"(parameter=input_tokens, value={least})"
    )


def _error(message: str) -> dict[str, Any]:
    return {"error": {"message": message, "type": "BadRequestError", "param": None, "code": 400}}
