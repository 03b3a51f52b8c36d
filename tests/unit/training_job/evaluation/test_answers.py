"""What a held-out row asks, and the answer it is held against."""

from __future__ import annotations

from typing import Any

import pytest
from tokenizers import Tokenizer

from shared.domain.errors import FailureClass, PermanentFailure
from shared.rendering.bundle import Bundle
from shared.rendering.rows import render_row, tokenize
from tests.unit.shared.rendering import families
from tests.unit.shared.rendering.support import newlines


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


THINKS = "<think>\\n\\n</think>\\n\\n"
FORMS = {
    "as it is": ("", "", "A bolt."),
    "an empty thought": (THINKS, "", "<think>\n\n</think>\n\nA bolt."),
    "a channel of control tokens": ("<|channel|>final<|message|>", "", "finalA bolt."),
    "a thought that the prompt has too": (THINKS, THINKS, "A bolt."),
}


@pytest.mark.few_cases(3)
@pytest.mark.parametrize("marked", [False, True])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("family", families.TEMPLATES)
def test_the_reference_is_what_a_model_says_that_learned_the_answer(family: str, form: str, marked: bool) -> None:
    """Whatever the template writes around the words of a row, decoded as an answer is."""
    from training_job.evaluation.answers import question

    opening, before, expected = FORMS[form]
    core = Tokenizer.from_str(families.tokenizer(family).to_str())
    core.add_special_tokens(["<|channel|>", "<|message|>"])
    text = families.TEMPLATES[family].strip().replace("<<", f"<<{{{{- '{opening}' -}}}}")
    text = text.replace("<<", "{%- generation -%}" * marked).replace(">>", "{%- endgeneration -%}" * marked)
    text += f"{{%- if add_generation_prompt %}}{{{{- '{before}' -}}}}{{% endif %}}"
    bundle = Bundle.of(core.to_str(), text, families.NAMED[family])
    row = {"messages": [{"role": "user", "content": "Part?"}, {"role": "assistant", "content": "A bolt."}]}
    (learned,) = tokenize(bundle, render_row(bundle, row))
    found = question(bundle, row, 1)
    answered = bundle.tokenizer.decode(learned.encoding.ids[len(found.ids) : learned.spans[0][1]])
    space = families.BEFORE_ANSWER.get(family, "")
    whole = f"{expected.removesuffix('A bolt.')}{space}A bolt."
    assert (found.reference, answered) == (whole, whole)


def test_a_reference_has_nothing_of_the_prompt_that_is_one_token_with_it() -> None:
    from training_job.evaluation.answers import question

    text = "{% for m in messages %}{{ m.role + ': ' + m.content + eos_token }}{% endfor %}"
    bundle = newlines("qwen", text + "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}")
    row = {"messages": [{"role": "user", "content": "Part?"}, {"role": "assistant", "content": "x"}]}
    assert question(bundle, row, 1).reference == "x"
