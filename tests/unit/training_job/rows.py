"""Rows of a preference file and of a file of prompts."""

from __future__ import annotations

from typing import Any


def pair(n: int, chosen: str = "a bolt of {} mm", rejected: str = "ask a dealer about {}") -> dict[str, Any]:
    return {
        "input": {"messages": [{"role": "user", "content": f"What is part {n}?"}]},
        "preferred_output": [{"role": "assistant", "content": chosen.format(n)}],
        "non_preferred_output": [{"role": "assistant", "content": rejected.format(n)}],
        "item": {"kind": "odd" if n % 2 else "even"},
    }


def prompt(n: int, **item: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": f"What is part {n}?"}]
    return {"messages": messages, "item": {"letter": "e", "answer": "see the list", **item}}
