"""What vLLM refuses before it answers, in its words: the server of a laptop reads on beyond every limit.

The sentences are those of vLLM's `OpenAIServingChat` and of its renderer's length check; no parser is needed for
`tool_choice: none`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from shared.domain.errors import PermanentFailure
from shared.domain.prompts import Prompt, prompt_before
from shared.rendering import Bundle, read_bundle_folder, tokenize
from shared.rendering.rows import render_prompt


def refusal(body: bytes, variables: Mapping[str, str], model: Path) -> dict[str, Any] | None:
    """The error that a chat request is answered with, of status 400; None for one that is served.

    `variables` are the deployment's: without a limit or a parser among them the server has none.
    """
    try:
        fields = json.loads(body)
        prompt = prompt_before(fields, None)
        answer = int(fields.get("max_completion_tokens") or fields.get("max_tokens") or 0)
    except (ValueError, LookupError, TypeError, AttributeError):
        return None  # the server says what is wrong with it
    if prompt.tools and fields.get("tool_choice", "auto") == "auto" and "TOOL_CALL_PARSER" not in variables:
        return _error('"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set')
    bundle, served = _bundle(model), variables.get("MAX_MODEL_LEN")
    if bundle is None or served is None:
        return None
    tokens, limit = _tokens(bundle, prompt), max(0, int(served) - answer)
    if tokens <= limit:
        return None
    return _error(
        f"This model's maximum context length is {served} tokens. However, you requested {answer} output tokens and "
        f"your prompt contains at least {limit + 1} input tokens, for a total of at least {limit + 1 + answer} "
        "tokens. Please reduce the length of the input prompt or the number of requested output tokens. "
        f"(parameter=input_tokens, value={limit + 1})",
        "input_tokens",
    )


def _tokens(bundle: Bundle, prompt: Prompt) -> int:
    try:
        (tokens,) = tokenize(bundle, [render_prompt(bundle, prompt)])
    except Exception:  # a template may raise anything, and the server says so
        return 0
    return len(tokens)


@cache
def _bundle(model: Path) -> Bundle | None:
    try:
        return read_bundle_folder(model)
    except PermanentFailure:  # a server of a test needs none
        return None


def _error(message: str, param: str | None = None) -> dict[str, Any]:
    return {"error": {"message": message, "type": "BadRequestError", "param": param, "code": 400}}
