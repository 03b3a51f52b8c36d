"""Rows and bundles as the tests of rendering have them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from shared.domain.errors import FailureClass, PermanentFailure
from shared.rendering.bundle import Bundle, read_bundle_folder
from shared.rendering.check import LengthPolicy, RowTokens, TokenCheck
from tests.unit.shared.rendering import families
from tests.unit.shared.rendering.families import message

NO_LIMIT = LengthPolicy(None, "reject")


def refused(folder: Path) -> PermanentFailure:
    with pytest.raises(PermanentFailure) as caught:
        read_bundle_folder(folder)
    assert caught.value.failure_class is FailureClass.RECIPE
    return caught.value


def answer(text: str, **more: Any) -> dict[str, Any]:
    return {"messages": [message("user", "Which part is this?"), message("assistant", text, **more)]}


def with_template(template: str) -> Bundle:
    return Bundle.of(families.tokenizer("qwen").to_str(), template, families.NAMED["qwen"])


def checked(row: dict[str, Any], policy: LengthPolicy = NO_LIMIT, family: str = "qwen") -> RowTokens:
    return TokenCheck(families.bundle(family, marked=True), policy).rows([row])[0]


def newlines(family: str, template: str | None = None, *, rstrip: tuple[str, ...] = ()) -> Bundle:
    """A family whose tokenizer makes one token of two newlines, and of a blank and a word, as those of Qwen and Llama.

    Its tokens of `rstrip` take the blanks that follow.
    """
    model = json.loads(families.tokenizer(family).to_str())
    for merge in (["Ċ", "Ċ"], ["Ġ", "x"]):
        model["model"]["vocab"].setdefault("".join(merge), len(model["model"]["vocab"]) + 50)
        model["model"]["merges"].insert(0, merge)
    for token in model["added_tokens"]:
        token["rstrip"] = token["content"] in rstrip
    text = families.template(family, marked=False) if template is None else template
    return Bundle.of(json.dumps(model), text, families.NAMED[family])
