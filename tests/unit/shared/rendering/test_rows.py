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
from shared.rendering.template import TemplateNotTrainable
from tests.paths import ROOT
from tests.unit.shared.rendering import families
from tests.unit.shared.rendering.families import BEFORE_ANSWER, END, ROWS, TEMPLATES

GOLDEN = ROOT / "tests" / "golden" / "masks"
CASES = [(family, name) for family in TEMPLATES for name in ROWS]
# With its system message before the last question, this family rewrites what was said before: no prefixes to compare.
REWRITTEN = {("mistral", "system and several turns")}


def tokens_of(bundle: Bundle, row: dict[str, Any]) -> Tokens:
    (tokens,) = tokenize(bundle, [render_row(bundle, row)])
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
    found = "\n\n".join(f"# {name}\n{drawn(tokens_of(bundle, row))}" for name, (row, _) in ROWS.items()) + "\n"
    golden = GOLDEN / f"{family}.txt"
    if os.environ.get("DROPTUNE_WRITE_GOLDEN"):
        golden.write_text(found, encoding="utf-8")
    assert found == golden.read_text(encoding="utf-8")


@pytest.mark.parametrize(("family", "name"), CASES)
def test_loss_falls_on_the_answers_and_their_end_token_and_on_nothing_else(family: str, name: str) -> None:
    row, answers = ROWS[name]
    bundle = families.bundle(family, marked=True)
    tokens = tokens_of(bundle, row)
    learned = [
        bundle.tokenizer.decode(tokens.encoding.ids[start:end], skip_special_tokens=False)
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
            # Llama's template trims what it prints.
            assert answer_text == (answer.strip() if family == "llama3" else BEFORE_ANSWER.get(family, "") + answer)


@pytest.mark.parametrize(("family", "name"), [case for case in CASES if case not in REWRITTEN])
def test_a_template_without_generation_blocks_gives_the_same_labels(family: str, name: str) -> None:
    bare, marked = (families.bundle(family, marked=marked) for marked in (False, True))
    assert (bare.template.marked, marked.template.marked) == (False, True)
    found, expected = tokens_of(bare, ROWS[name][0]), tokens_of(marked, ROWS[name][0])
    assert found.encoding.ids == expected.encoding.ids
    assert mask_of(found) == mask_of(expected)


@pytest.mark.parametrize(("family", "name"), sorted(REWRITTEN))
def test_a_bare_template_that_rewrites_what_was_said_is_refused(family: str, name: str) -> None:
    with pytest.raises(TemplateNotTrainable, match="no generation blocks and rewrites earlier messages"):
        render_row(families.bundle(family, marked=False), ROWS[name][0])


@pytest.mark.parametrize(("family", "name"), sorted(REWRITTEN))
def test_only_the_last_answer_of_a_bare_template_that_rewrites_can_be_learned(family: str, name: str) -> None:
    row = ROWS[name][0]
    prompt, answer = row["messages"][:-1], row["messages"][-1]
    before = [{**one, "weight": 0} if one["role"] == "assistant" else one for one in prompt]
    bare, marked = (families.bundle(family, marked=marked) for marked in (False, True))
    last_only = {"messages": [*before, answer]}
    assert mask_of(tokens_of(bare, last_only)) == mask_of(tokens_of(marked, last_only))


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
@pytest.mark.parametrize(("family", "name"), CASES)
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
