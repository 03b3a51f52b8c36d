"""What a held-out row asks, and the answer it is held against."""

from __future__ import annotations

from typing import Any

import pytest

from shared.domain.errors import FailureClass, PermanentFailure
from shared.rendering import Bundle


def test_the_reference_is_the_last_answer_and_the_prompt_stops_before_it(tokenizer: Any, bundle: Any) -> None:
    from training_job.evaluation.answers import question

    turns = [("user", "Part?"), ("assistant", "a bolt"), ("user", "Size?"), ("assistant", "M5")]
    parsed = question(bundle, {"messages": [{"role": r, "content": c} for r, c in turns]}, 7)
    assert (parsed.number, parsed.prompt, parsed.reference) == (7, "user: Part?\nassistant: a bolt\nuser: Size?", "M5")
    assert tokenizer.decode(parsed.ids).endswith("Size?<|im_end|>\n<|im_start|>assistant\n")


def test_the_reference_is_never_an_answer_of_weight_0(bundle: Any) -> None:
    from training_job.evaluation.answers import question

    turns = [("user", "Part?", 1), ("assistant", "a bolt", 1), ("user", "Size?", 1), ("assistant", "wrong", 0)]
    parsed = question(bundle, {"messages": [{"role": r, "content": c, "weight": w} for r, c, w in turns]}, 7)
    assert (parsed.prompt, parsed.reference) == ("Part?", "a bolt")


def test_a_prompt_of_several_turns_is_asked_to_its_end_and_has_no_reference(tokenizer: Any, bundle: Any) -> None:
    from training_job.evaluation.answers import question

    turns = [("user", "Part?"), ("assistant", "a bolt"), ("user", "Size?")]
    parsed = question(bundle, {"messages": [{"role": r, "content": c} for r, c in turns], "item": {"size": "M5"}}, 7)
    assert (parsed.prompt, parsed.reference) == ("user: Part?\nassistant: a bolt\nuser: Size?", None)
    assert tokenizer.decode(parsed.ids).endswith("Size?<|im_end|>\n<|im_start|>assistant\n")


@pytest.mark.parametrize("text", ["", " \n", "\u200b"])
def test_an_answer_of_which_nothing_is_seen_is_no_reference(text: str, bundle: Any) -> None:
    from training_job.evaluation.answers import question

    row = {"messages": [{"role": "user", "content": "Part?"}, {"role": "assistant", "content": text}]}
    with pytest.raises(PermanentFailure, match="held-out row 7 has no answer to compare with") as caught:
        question(bundle, row, 7)
    assert (caught.value.failure_class, caught.value.problem.code) == (FailureClass.DATA, "no_reference")


@pytest.mark.parametrize("text", [None, "I look it up."])
def test_a_call_the_template_does_not_write_is_no_reference(text: str | None, bundle: Any) -> None:
    from training_job.evaluation.answers import question

    template = bundle.template.text.replace("m['tool_calls'] or []", "[]").replace("m['content'] or ''", "''")
    silent = Bundle.of(bundle.tokenizer.to_str(), template, bundle.named_tokens)
    call = {"type": "function", "function": {"name": "stock", "arguments": "{}"}}
    row = {
        "messages": [
            {"role": "user", "content": "In stock?"},
            {"role": "assistant", "content": text, "tool_calls": [call]},
        ]
    }
    with pytest.raises(PermanentFailure, match="the chat template does not write it"):
        question(silent, row, 1)


def test_a_call_with_text_beside_it_is_judged_whole(bundle: Any) -> None:
    from training_job.evaluation.answers import question

    call = {"type": "function", "function": {"name": "stock", "arguments": '{"part": "A4"}'}}
    messages = [
        {"role": "user", "content": "In stock?"},
        {"role": "assistant", "content": "I look.", "tool_calls": [call]},
    ]
    reference = question(bundle, {"messages": messages}, 1).reference
    assert reference == 'I look.<tool_call>{"arguments": {"part": "A4"}, "name": "stock"}</tool_call>'


def test_a_tool_call_is_judged_by_the_text_the_template_makes_of_it(bundle: Any) -> None:
    from training_job.evaluation.answers import question

    call = {"type": "function", "function": {"name": "stock", "arguments": '{"part": "A4"}'}}
    messages = [
        {"role": "user", "content": "In stock?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
    ]
    reference = question(bundle, {"messages": messages, "tools": []}, 1).reference
    assert reference == '<tool_call>{"arguments": {"part": "A4"}, "name": "stock"}</tool_call>'
