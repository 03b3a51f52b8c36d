"""Which tokens carry loss, for each format and template family: golden files to read, and transformers to agree.

After an intended change: DROPTUNE_WRITE_GOLDEN=1 pytest tests/unit/shared/rendering/test_rows.py; read the difference.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from tokenizers import decoders

from shared.rendering.bundle import Bundle, read_bundle_folder
from shared.rendering.rows import Tokens, normalized, render_row, tokenize
from tests.paths import ROOT
from tests.unit.shared.rendering import families
from tests.unit.shared.rendering.families import BEFORE_ANSWER, END, ROWS, TEMPLATES
from tests.unit.shared.rendering.support import with_template

GOLDEN = ROOT / "tests" / "golden" / "masks"
CASES = [(family, name) for family in TEMPLATES for name in ROWS]
# A system message is in the text that asks for an answer, and no longer where the answer is.
REWRITTEN = {
    ("mistral", name) for name in ("system and one answer", "system and several turns", "tool call and its result")
}


def texts_of(bundle: Bundle, row: dict[str, Any]) -> list[Tokens]:
    return list(tokenize(bundle, render_row(bundle, row)))


def tokens_of(bundle: Bundle, row: dict[str, Any]) -> Tokens:
    (tokens,) = texts_of(bundle, row)
    return tokens


def mask_of(tokens: Tokens) -> list[int]:
    return [int(any(start <= index < end for start, end in tokens.spans)) for index in range(len(tokens))]


def drawn(tokens: Tokens) -> str:
    """A line for each stretch with (`+`) or without loss; `·` between tokens, `⏎` for a line feed, bytes by number."""
    lines: list[str] = []
    before = None
    for index, learned in enumerate(mask_of(tokens)):
        if learned != before:
            lines.append("+ " if learned else "  ")
        else:
            lines[-1] += "·"
        lines[-1] += _shown(tokens, index)
        before = learned
    return "\n".join(line.rstrip() for line in lines)


def _shown(tokens: Tokens, index: int) -> str:
    token = tokens.encoding.tokens[index]
    as_text = decoders.ByteLevel().decode([token])
    shown = token if "\ufffd" in as_text else as_text  # part of a character: the vocabulary's own name
    return shown.replace("\n", "⏎").replace(" ", "␣")


@pytest.mark.parametrize("family", TEMPLATES)
def test_exactly_these_tokens_carry_loss(family: str) -> None:
    bundle = families.bundle(family, marked=True)
    texts = {name: "\n\n".join(map(drawn, texts_of(bundle, row))) for name, (row, _) in ROWS.items()}
    found = "\n\n".join(f"# {name}\n{text}" for name, text in texts.items()) + "\n"
    golden = GOLDEN / f"{family}.txt"
    if os.environ.get("DROPTUNE_WRITE_GOLDEN"):
        golden.write_text(found, encoding="utf-8")
    assert found == golden.read_text(encoding="utf-8")


@pytest.mark.parametrize(("family", "name"), CASES)
def test_loss_falls_on_the_answers_and_their_end_token_and_on_nothing_else(family: str, name: str) -> None:
    row, answers = ROWS[name]
    bundle = families.bundle(family, marked=True)
    learned = [
        bundle.tokenizer.decode(tokens.encoding.ids[start:end], skip_special_tokens=False)
        for tokens in texts_of(bundle, row)
        for start, end in tokens.spans
    ]
    assert len(learned) == len(answers)
    for text, answer in zip(learned, answers, strict=True):
        assert text.endswith(END[family])
        answer_text = text.removesuffix(END[family])
        if answer is None:
            assert '"name": "stock"' in answer_text
            assert '{"part": "bolt Zürich"}' in answer_text
            assert "How many" not in answer_text, "the tool's description is the prompt's"
        else:
            trimmed = answer.strip() if family in ("llama3", "mistral") else answer
            assert answer_text == BEFORE_ANSWER.get(family, "") + trimmed


@pytest.mark.parametrize(("family", "name"), CASES)
def test_a_template_without_generation_blocks_gives_the_same_labels(family: str, name: str) -> None:
    bare, marked = (families.bundle(family, marked=marked) for marked in (False, True))
    assert render_row(bare, ROWS[name][0]) == render_row(marked, ROWS[name][0])


# transformers: what the model is served with.


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Each family's tokenizer, saved by transformers as a base model's folder has it."""
    from transformers import PreTrainedTokenizerFast

    folders = {}
    for family in TEMPLATES:
        folders[family] = tmp_path_factory.mktemp(family)
        core, named = families.tokenizer(family), families.NAMED[family]
        text = families.template(family, marked=True)
        PreTrainedTokenizerFast(tokenizer_object=core, chat_template=text, **named).save_pretrained(folders[family])
    return folders


@pytest.mark.few_cases(3)
@pytest.mark.parametrize(("family", "name"), [case for case in CASES if case not in REWRITTEN])
def test_transformers_makes_the_same_tokens_and_the_same_mask(saved: dict[str, Path], family: str, name: str) -> None:
    from transformers import AutoTokenizer

    theirs: Any = AutoTokenizer.from_pretrained(saved[family], local_files_only=True)
    row = ROWS[name][0]
    unweighted = {**row, "messages": [{**message, "weight": 1} for message in row["messages"]]}
    tokens = tokens_of(read_bundle_folder(saved[family]), unweighted)
    answer = theirs.apply_chat_template(
        normalized(row["messages"]), tools=row.get("tools"), return_dict=True, return_assistant_tokens_mask=True
    )
    assert tokens.encoding.ids == list(answer["input_ids"])
    assert mask_of(tokens) == list(answer["assistant_masks"])


@pytest.mark.parametrize("family", TEMPLATES)
def test_the_question_asked_for_evaluation_is_transformers_own(saved: dict[str, Path], family: str) -> None:
    from transformers import AutoTokenizer

    theirs: Any = AutoTokenizer.from_pretrained(saved[family], local_files_only=True)
    messages = normalized(ROWS["system and several turns"][0]["messages"][:-1])
    ours = read_bundle_folder(saved[family]).template.render(messages, ask=True)
    assert ours == theirs.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)


@pytest.mark.parametrize("family", TEMPLATES)
def test_the_hash_of_a_bundle_is_that_of_the_tokenizer_the_trainer_holds(saved: dict[str, Path], family: str) -> None:
    from transformers import AutoTokenizer

    from training_job.data.chat_rows import bundle_of

    theirs: Any = AutoTokenizer.from_pretrained(saved[family], local_files_only=True)
    theirs(["a", "a longer text"], padding=True, truncation=True, max_length=4) if theirs.pad_token else None
    assert bundle_of(theirs).sha256 == read_bundle_folder(saved[family]).sha256
    other = families.bundle(family, marked=False)
    assert bundle_of(theirs).sha256 != other.sha256


ASKS_WITH_BLANKS = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + ' ' + m.content WRITTEN + '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant' + ASKED }}{% endif %}"
)
OPENS = "' <think>\\n'"


@pytest.mark.parametrize(
    ("asks", "written", "given", "learned"),
    [
        ("' \\n'", "", "    return twelve", "    return twelve"),
        ("' \\n'", "", "  \n| a | b |", "  \n| a | b |"),
        ("' \\n'", "", "twelve", "twelve"),
        ("' \\n'", "| trim", "    return twelve", "return twelve"),
        (OPENS, ".split('</think>')[-1]", "<think>\n    x = 1\n</think>\n\nA", "    x = 1\n</think>\n\nA"),
        (OPENS, ".split('</think>')[-1]", "<think>It\n</think>\n\nA", "It\n</think>\n\nA"),
    ],
)
def test_the_blanks_that_an_answer_begins_with_are_learned_where_the_template_keeps_them(
    asks: str, written: str, given: str, learned: str
) -> None:
    bundle = with_template(ASKS_WITH_BLANKS.replace("WRITTEN", written).replace("ASKED", asks))
    (found,) = render_row(bundle, {"messages": [families.message("user", "?"), families.message("assistant", given)]})
    assert [found.text[slice(*span)] for span in found.spans] == [f"{learned}<|im_end|>"]
