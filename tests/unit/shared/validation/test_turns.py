"""Turns of other tools become messages, whatever they call who speaks and what is said."""

from __future__ import annotations

import itertools
import json

import pytest

from shared.validation.intake import open_rows
from shared.validation.rows import read_row

# What other exports call who speaks, and what each is.
ROLES = {
    "user": ["user", "User", "human", "Human", "HUMAN", "prompter"],
    "assistant": ["assistant", "Assistant", "gpt", "GPT", "chatgpt", "bing", "bard", "ai", "AI", "bot", "model"],
}


@pytest.mark.few_cases(3)
@pytest.mark.parametrize("keys", [("role", "content"), ("from", "value")])
@pytest.mark.parametrize("field", ["messages", "conversations", "conversation", "items", "dialog", "Dialogue", "turns"])
def test_roles_are_known_by_the_words_of_other_exports_and_turns_by_their_field(check, rows, keys, field) -> None:
    role, content = keys
    for user, assistant in itertools.product(ROLES["user"], ROLES["assistant"]):
        turns = [{role: user, content: "q"}, {role: assistant, content: "a"}]
        form = open_rows([json.dumps({field: turns}).encode()]).form
        if field == "messages" and role == "from":
            continue
        assert form is not None, field
        read, found = read_row(json.dumps({field: turns}).encode(), form)
        assert list(found) == []
        assert read is not None
        assert [one["role"] for one in read.messages] == ["user", "assistant"]
