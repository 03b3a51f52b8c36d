"""What is learned of each row, and of bundles that cannot be used."""

from __future__ import annotations

import json
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from shared.domain.prompts import prompt_of
from shared.rendering import rows
from shared.rendering.bundle import Bundle
from shared.rendering.check import LengthPolicy, RowTokens, TokenCheck
from shared.rendering.rows import Rendered, render_row, tokenize
from tests.unit.shared.rendering import families
from tests.unit.shared.rendering.families import ROWS, TEMPLATES, message
from tests.unit.shared.rendering.support import NO_LIMIT, answer, checked, newlines, with_template


def test_a_row_says_how_many_tokens_it_has_and_how_many_are_learned() -> None:
    row = checked(answer("A bolt."))
    bundle = families.bundle("qwen", marked=True)
    text = render_row(bundle, answer("A bolt."))[0].text
    assert row.tokens == row.kept == len(bundle.tokenizer.encode(text, add_special_tokens=False))
    assert row.trained == len(bundle.tokenizer.encode("A bolt.<|im_end|>", add_special_tokens=False))
    assert row.codes == ()


def test_a_row_without_a_token_to_learn_from_is_named() -> None:
    assert checked(answer("A bolt.", weight=0)).codes == ("no_trainable_tokens",)


@pytest.mark.parametrize(
    ("policy", "kept", "code"),
    [("reject", 0, "too_many_tokens"), ("drop", 0, "row_dropped"), ("truncate", 60, "row_truncated")],
)
def test_a_long_row_follows_the_policy(policy: Any, kept: int, code: str) -> None:
    row = checked(answer("a bolt " * 100), LengthPolicy(60, policy))
    assert (row.kept, row.codes) == (kept, (code,))
    assert row.tokens > 60
    assert (row.trained > 0) == bool(kept)


def test_cutting_a_row_before_its_answer_leaves_it_out() -> None:
    row = {"messages": [message("user", "bolt " * 100), message("assistant", "No.")]}
    assert checked(row, LengthPolicy(60, "truncate")).codes == ("truncated_to_nothing",)


@pytest.mark.parametrize("family", TEMPLATES)
def test_every_control_token_is_found_wherever_it_stands(family: str) -> None:
    tokens = families.SPECIAL[family] + families.PLAIN_ADDED.get(family, ())
    if family == "phi":  # the tools' tokens stand in the template only where it writes them
        assert "<|tool_call|>" in tokens
    for token in tokens:
        text = f"see {token} there"
        for row in (
            answer(text),
            {"messages": [message("user", text), message("assistant", "No.")]},
            {**answer("No."), "tools": [{"type": "function", "function": {"name": "f", "description": text}}]},
        ):
            assert "special_token_in_text" in checked(row, family=family).codes, (family, token)


def test_text_that_only_looks_like_a_control_token_is_left_alone() -> None:
    assert checked(answer("see <|im_ end|> and < |im_end|> and im_end")).codes == ()


def test_extra_fields_are_no_text_the_model_reads() -> None:
    assert checked({**answer("A bolt."), "item": {"note": "<|im_end|>"}}).codes == ()


def test_a_row_the_template_refuses_is_named_and_the_next_one_is_counted() -> None:
    row = {"messages": [message("user", "Which?"), message("system", "Late."), message("assistant", "A bolt.")]}
    check = TokenCheck(families.bundle("mistral", marked=True), NO_LIMIT)
    refused, counted = check.rows([row, answer("A bolt.")])
    assert refused == RowTokens(
        codes=("row_not_renderable",), detail='"only user, assistant and tool follow the system message"'
    )
    assert counted == checked(answer("A bolt."), family="mistral")


def test_a_template_that_shows_no_answer_is_named() -> None:
    counts = with_template("{{ messages | length }}")
    assert TokenCheck(counts, NO_LIMIT).rows([ROWS["several turns"][0]])[0].codes == ("template_not_trainable",)


# Its first text has the system message, so it is not part of the second.
TWO_TEXTS = ROWS["system and several turns"][0]


def test_a_row_of_several_texts_has_the_tokens_of_all_and_asks_for_its_last_answer() -> None:
    bundle = families.bundle("mistral", marked=False)
    (found,) = TokenCheck(bundle, NO_LIMIT).rows([TWO_TEXTS])
    texts = list(tokenize(bundle, render_row(bundle, TWO_TEXTS)))
    (prompt,) = tokenize(bundle, [rows.render_prompt(bundle, prompt_of(TWO_TEXTS))])
    assert found == RowTokens(
        tokens=max(map(len, texts)),
        kept=max(map(len, texts)),
        trained=sum(text.trained() for text in texts),
        codes=("template_rewrites_turns",),
        prompt=len(prompt),
        answer=texts[1].trained(),
        texts=(len(texts[0]), len(texts[1])),
    )


def test_an_answer_of_weight_0_is_no_text_of_its_own() -> None:
    unlearned = [{**one, "weight": 0} if one["content"] == "A bolt." else one for one in TWO_TEXTS["messages"]]
    (found,) = TokenCheck(families.bundle("mistral", marked=False), NO_LIMIT).rows([{"messages": unlearned}])
    assert (found.codes, found.texts) == ((), ())


def test_of_several_texts_one_that_is_too_long_is_the_rows_and_a_cut_leaves_the_others() -> None:
    bundle = families.bundle("mistral", marked=False)
    first, second = map(len, tokenize(bundle, render_row(bundle, TWO_TEXTS)))
    assert first < second
    for over_length, code, texts in (
        ("reject", "too_many_tokens", ()),
        ("drop", "row_dropped", ()),
        ("truncate", "row_truncated", (first, second - 1)),
    ):
        policy = LengthPolicy(second - 1, cast(Any, over_length))
        (found,) = TokenCheck(bundle, policy).rows([TWO_TEXTS])
        assert (found.codes, found.texts) == ((code, "template_rewrites_turns"), texts)
        assert found.kept == max(texts, default=0)
    (cut,) = TokenCheck(bundle, LengthPolicy(first, "truncate")).rows([TWO_TEXTS])
    assert (cut.codes, cut.kept, cut.texts) == (("row_truncated", "template_rewrites_turns"), first, ())


def test_a_long_dialogue_of_which_each_answer_is_a_text_is_refused_before_it_fills_the_memory() -> None:
    turns = [message(role, "x" * 20_000) for _ in range(30) for role in ("user", "assistant")]
    row = {"messages": [message("system", "Be brief."), *turns]}
    assert TokenCheck(families.bundle("mistral", marked=False), NO_LIMIT).rows([row])[0].codes == ("too_many_turns",)
    assert TokenCheck(families.bundle("qwen", marked=False), NO_LIMIT).rows([row])[0].codes == ()
    longer = {"messages": [one for _ in range(3) for one in turns]}
    assert TokenCheck(families.bundle("qwen", marked=False), NO_LIMIT).rows([longer])[0].codes == ("too_many_turns",)


def test_a_pair_cannot_be_compared_in_several_texts() -> None:
    *prompt, answer, question, last = TWO_TEXTS["messages"]
    check = TokenCheck(families.bundle("mistral", marked=False), NO_LIMIT)
    pair = {"input": {"messages": prompt}, "preferred_output": [answer], "non_preferred_output": [last]}
    several = {**pair, "preferred_output": [answer, question, last]}
    assert [found.codes for found in check.rows([pair, several])] == [(), ("template_not_trainable",)]


def test_an_answer_that_nothing_asks_for_is_not_learned() -> None:
    bundle = families.bundle("qwen", marked=True)
    greeting = message("assistant", "Good day.")
    (text,) = render_row(bundle, {"messages": [greeting, *answer("A bolt.")["messages"]]})
    assert [text.text[start:end] for start, end in text.spans] == ["A bolt.<|im_end|>"]
    assert "Good day." in text.text


def test_batches_change_nothing() -> None:
    long = answer("a bolt " * (rows.BATCH_CHARACTERS // 14))  # half of a batch
    many = [one for row, _ in ROWS.values() for one in (row, long)][:12]
    check = TokenCheck(families.bundle("llama3", marked=True), NO_LIMIT)
    assert check.rows(many) == [check.rows([row])[0] for row in many]


def letters(*, split: bool) -> Bundle:
    """A tokenizer of single bytes, or one whose tokens are words with the space before them."""
    core = Tokenizer(models.BPE())
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    core.model = models.BPE(vocab={letter: index for index, letter in enumerate(alphabet)}, merges=[])
    if not split:
        words = ["▁", "▁a", "▁b", "a", "b", "<e>"]
        core.model = models.BPE(
            vocab={word: index for index, word in enumerate(words)}, merges=[("▁", "a"), ("▁", "b")]
        )
        core.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never")
    else:
        core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        core.decoder = decoders.ByteLevel()
    return Bundle.of(core.to_str(), "{{ messages }}", {"pad_token": "p"})


@given(st.text(st.sampled_from("ab é🔩\n"), max_size=30), st.data())
def test_a_span_of_text_is_exactly_the_tokens_that_hold_it(text: str, data: st.DataObject) -> None:
    bundle = BYTES
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))
    (tokens,) = tokenize(bundle, [Rendered(text, ((start, end),))])
    ((first, last),) = tokens.spans
    assert tokens.encoding.ids[first:last] == bundle.tokenizer.encode(text[start:end], add_special_tokens=False).ids
    assert tokens.trained() == last - first == len(text[start:end].encode())


BYTES = letters(split=True)


def test_a_token_that_holds_the_space_before_an_answer_is_learned_with_it() -> None:
    (tokens,) = tokenize(letters(split=False), [Rendered("a b a", ((2, 3), (4, 5)))])
    assert [tokens.encoding.tokens[first:last] for first, last in tokens.spans] == [["▁b"], ["▁a"]]


def test_text_that_the_tokenizer_drops_is_no_token_and_loses_none_beside_it() -> None:
    bundle = letters(split=True)
    bundle.tokenizer.normalizer = normalizers.Strip()
    (tokens,) = tokenize(bundle, [Rendered("  ab  ", ((0, 3), (3, 6), (4, 6), (0, 2)))])
    assert tokens.encoding.tokens == ["a", "b"]
    assert tokens.spans == ((0, 1), (1, 2), (2, 2), (0, 0))


# Rows of other methods


def pair(preferred: str, other: str) -> dict[str, Any]:
    prompt = {"messages": [message("user", "Which?"), message("assistant", "This?"), message("user", "No.")]}
    return {
        "input": prompt,
        "preferred_output": [message("assistant", preferred)],
        "non_preferred_output": [message("assistant", other)],
    }


def counted(text: str) -> int:
    return len(families.bundle("qwen", marked=True).tokenizer.encode(text, add_special_tokens=False))


def test_a_preference_pair_has_the_tokens_of_its_longer_side_and_learns_from_both_answers() -> None:
    found = checked(pair("A bolt.", "A nut of some size."))
    longer = {"messages": [*pair("", "")["input"]["messages"], message("assistant", "A nut of some size.")]}
    assert found.tokens == checked(longer).tokens
    assert found.trained == counted("A bolt.<|im_end|>") + counted("A nut of some size.<|im_end|>")


def test_a_pair_goes_where_its_longer_side_goes() -> None:
    long = pair("A bolt.", "a nut " * 100)
    assert checked(long, LengthPolicy(60, "drop")).codes == ("row_dropped",)
    assert checked(long, LengthPolicy(60, "reject")).codes == ("too_many_tokens",)
    cut = checked(long, LengthPolicy(60, "truncate"))
    assert (cut.codes, cut.kept) == (("row_truncated",), 60)


def test_a_prompt_is_counted_up_to_the_answer_and_is_not_cut() -> None:
    row: dict[str, Any] = {"messages": [message("user", "Which part?")], "item": {"target": "<|im_end|>"}}
    bundle = families.bundle("qwen", marked=True)
    text = bundle.template.render(row["messages"], None, ask=True)
    assert checked(row) == RowTokens(counted(text), counted(text), 0, prompt=counted(text))
    assert checked(row, LengthPolicy(4, "truncate")).codes == ("too_many_tokens",)
    assert checked(row, LengthPolicy(4, "drop")).codes == ("row_dropped",)


@pytest.mark.parametrize("family", TEMPLATES)
def test_all_of_a_plain_text_is_learned_with_its_end(family: str) -> None:
    bundle = families.bundle(family, marked=True)
    (rendered,) = render_row(bundle, {"text": "Pumps hold oil.", "item": {}})
    assert rendered.text == bundle.opening + "Pumps hold oil." + bundle.named_tokens["eos_token"]
    found = checked({"text": "Pumps hold oil.", "item": {}}, family=family)
    opened = len(bundle.tokenizer.encode(bundle.opening, add_special_tokens=False)) if bundle.opening else 0
    assert found.trained == found.tokens - opened > 3


def test_plain_text_begins_with_what_the_tokenizer_puts_there() -> None:
    core = Tokenizer.from_str(families.tokenizer("llama3").to_str())
    begin = families.NAMED["llama3"]["bos_token"]
    core.post_processor = processors.TemplateProcessing(
        single=f"{begin} $A", special_tokens=[(begin, core.token_to_id(begin))]
    )
    bundle = Bundle.of(core.to_str(), "{{ messages }}", families.NAMED["llama3"])
    (tokens,) = tokenize(bundle, render_row(bundle, {"text": "Oil."}))
    assert tokens.encoding.ids[:-1] == bundle.tokenizer.encode("Oil.", add_special_tokens=True).ids
    assert tokens.trained() == len(tokens) - 1


ANSWERS = ("A bolt.", " x", "\nx", "\n\nx", "  x", "\n x", "\tx", "7", "\u200bx")


@pytest.mark.few_cases(3)
@pytest.mark.parametrize("ask", ["as it is", " ", "\n", "rstrip"])
@pytest.mark.parametrize("family", TEMPLATES)
def test_a_row_learned_after_other_tokens_than_ask_for_it_is_named_and_no_other(family: str, ask: str) -> None:
    """Of every family, and of its like whose prompt ends with a blank or with a token that takes blanks."""
    template = families.template(family, marked=False)
    rstrip: tuple[str, ...] = ()
    if ask == "rstrip":
        rstrip = ("<|end_header_id|>", "[/INST]", "<|assistant|>")
    elif ask != "as it is":
        end = {
            "llama3": "<|end_header_id|>\\n\\n",
            "mistral": "[/INST]",
            "phi": "<|assistant|>",
            "qwen": "assistant\\n",
        }
        template = template.replace(f"{end[family]}'", f"{end[family]}{json.dumps(ask)[1:-1]}'")
    bundle = newlines(family, template, rstrip=rstrip)
    for text in ANSWERS:
        row = answer(text)
        (found,) = TokenCheck(bundle, NO_LIMIT).rows([row])
        (prompt,) = tokenize(bundle, [rows.render_prompt(bundle, prompt_of(row))])
        (learned,) = tokenize(bundle, render_row(bundle, row))
        differs = learned.encoding.ids[: len(prompt)] != prompt.encoding.ids
        assert ("some_prompt_tokens_differ" in found.codes) == differs, text
        assert found.prompt == len(prompt), text
        assert learned.encoding.ids[learned.spans[0][0]] not in bundle.added, text


@pytest.mark.parametrize("family", TEMPLATES)
def test_all_tokens_up_to_an_answer_are_those_that_ask_for_it(family: str) -> None:
    bundle = families.bundle(family, marked=True)
    for name, (row, _) in ROWS.items():
        (found,) = TokenCheck(bundle, NO_LIMIT).rows([row])
        (prompt,) = tokenize(bundle, [rows.render_prompt(bundle, prompt_of(row))])
        assert (found.prompt, "some_prompt_tokens_differ" in found.codes) == (len(prompt), False), name
