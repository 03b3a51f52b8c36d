from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shared.domain.errors import FailureClass, PermanentFailure
from shared.rendering.bundle import Bundle, read_bundle_folder
from shared.rendering.check import LengthPolicy, TokenCheck
from shared.rendering.rows import render_row, tokenize
from shared.rendering.template import TemplateNotTrainable
from tests.paths import ROOT
from tests.unit.shared.rendering import families
from training_job.data.chat_rows import IGNORED, Encoded, encode_file, encoded


def encode_row(bundle: Bundle, row: dict[str, Any]) -> Encoded:
    (tokens,) = tokenize(bundle, render_row(bundle, row))
    return encoded(tokens, 1, len(tokens))


TOOLS = [{"type": "function", "function": {"name": "stock", "parameters": {"type": "object"}}}]
CALL = {"id": "call_1", "type": "function", "function": {"name": "stock", "arguments": '{"part": "A4"}'}}
DIALOGUES: dict[str, tuple[dict[str, Any], list[str]]] = {
    "one answer": (
        {"messages": [{"role": "user", "content": "Part?"}, {"role": "assistant", "content": "a bolt"}]},
        ["a bolt<|im_end|>"],
    ),
    "several turns": (
        {
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": "Part?"},
                {"role": "assistant", "content": "a bolt"},
                {"role": "user", "content": "Size?"},
                {"role": "assistant", "content": "M5, 40 mm"},
            ]
        },
        ["a bolt<|im_end|>", "M5, 40 mm<|im_end|>"],
    ),
    "weight 0": (
        {
            "messages": [
                {"role": "user", "content": "Part?"},
                {"role": "assistant", "content": "a nut", "weight": 0},
                {"role": "user", "content": "Sure?"},
                {"role": "assistant", "content": "no, a bolt", "weight": 1},
            ]
        },
        ["no, a bolt<|im_end|>"],
    ),
    "tool call": (
        {
            "messages": [
                {"role": "user", "content": "In stock?"},
                {"role": "assistant", "content": None, "tool_calls": [CALL]},
                {"role": "tool", "content": "12", "tool_call_id": "call_1"},
                {"role": "assistant", "content": "Twelve."},
            ],
            "tools": TOOLS,
        },
        [
            '<tool_call>{"arguments": {"part": "A4"}, "name": "stock"}</tool_call><|im_end|>',
            "Twelve.<|im_end|>",
        ],
    ),
}


def learned(bundle: Bundle, row: Encoded) -> list[str]:
    """The text of each stretch of tokens that loss falls on."""
    stretches: list[list[int]] = [[]]
    for label in row.labels:
        if label != IGNORED:
            stretches[-1].append(label)
        elif stretches[-1]:
            stretches.append([])
    return [bundle.tokenizer.decode(ids, skip_special_tokens=False) for ids in stretches if ids]


def with_template(bundle: Bundle, template: str) -> Bundle:
    return Bundle.of(bundle.tokenizer.to_str(), template, bundle.named_tokens)


@pytest.mark.parametrize("name", DIALOGUES)
def test_loss_falls_on_the_answers_and_their_end_token_and_on_nothing_else(bundle: Bundle, name: str) -> None:
    row, answers = DIALOGUES[name]
    assert learned(bundle, encode_row(bundle, row)) == answers


def test_a_template_that_shows_no_answer_is_refused(bundle: Bundle) -> None:
    other = with_template(bundle, "{{ messages | length }}{% for m in messages %}{{ m['content'] }}{% endfor %}")
    with pytest.raises(TemplateNotTrainable):
        encode_row(other, DIALOGUES["several turns"][0])


def test_a_tool_schema_is_part_of_the_prompt_as_a_server_writes_it(bundle: Bundle) -> None:
    text = bundle.tokenizer.decode(encode_row(bundle, DIALOGUES["tool call"][0]).input_ids)
    function = {"name": "stock", "description": None, "parameters": {"type": "object"}}
    assert json.dumps([{"type": "function", "function": function}]) in text


def refused(
    tmp_path: Path, bundle: Bundle, rows: list[Any], max_tokens: int = 256, over_length: Any = "reject"
) -> PermanentFailure:
    path = tmp_path / "train.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(PermanentFailure) as caught:
        encode_file(path, bundle, LengthPolicy(max_tokens, over_length))
    assert caught.value.failure_class is FailureClass.DATA
    return caught.value


def test_rows_without_a_trainable_token_are_refused_by_number(tmp_path: Path, bundle: Bundle) -> None:
    good, silent = DIALOGUES["one answer"][0], {"messages": [{"role": "user", "content": "secret text"}]}
    without_loss = {"messages": [{"role": "assistant", "content": "secret text", "weight": 0}]}
    problem = refused(tmp_path, bundle, [good, silent, good, without_loss]).problem
    assert problem.code == "no_trainable_tokens"
    assert problem.message.endswith("rows 2, 4")
    assert "secret" not in problem.message


def test_a_row_the_template_refuses_is_named_and_not_quoted(tmp_path: Path, bundle: Bundle) -> None:
    other = with_template(bundle, "{% for m in messages %}{{ raise_exception('no: ' ~ m['content']) }}{% endfor %}")
    problem = refused(tmp_path, other, [DIALOGUES["one answer"][0]]).problem
    assert problem.code == "row_not_renderable"
    assert problem.message.endswith('1 row refused by the chat template ("…"): row 1')

    other = with_template(bundle, "{{ raise_exception('System role not supported') }}")
    problem = refused(tmp_path, other, [DIALOGUES["one answer"][0]]).problem
    assert '("System role not supported")' in problem.message


def test_what_is_not_a_row_of_the_method_is_refused_by_number(tmp_path: Path, bundle: Bundle) -> None:
    problem = refused(tmp_path, bundle, [DIALOGUES["one answer"][0], {"prompt": "x"}, []]).problem
    assert (problem.code, problem.message) == ("bad_row", "train.jsonl: 2 rows not rows of this method: rows 2, 3")


def test_long_rows_are_refused_by_number_or_dropped_or_cut_and_counted(
    tmp_path: Path, bundle: Bundle, some_rows: list[Any]
) -> None:
    long = {"messages": [{"role": "user", "content": "?"}, {"role": "assistant", "content": "bolt " * 200}]}
    rows = [some_rows[0], long, some_rows[1]]
    assert refused(tmp_path, bundle, rows, max_tokens=100).problem.message.endswith("row 2")
    kept = encode_file(tmp_path / "train.jsonl", bundle, LengthPolicy(100, "drop"))
    assert ([row.number for row in kept.rows], kept.dropped, kept.truncated) == ([1, 3], [2], [])
    cut = encode_file(tmp_path / "train.jsonl", bundle, LengthPolicy(100, "truncate"))
    assert ([row.number for row in cut.rows], cut.dropped, cut.truncated) == ([1, 2, 3], [], [2])
    assert (len(cut.rows[1].input_ids), len(cut.rows[1].labels)) == (100, 100)


def test_a_row_whose_answer_is_cut_away_is_left_out(tmp_path: Path, bundle: Bundle, some_rows: list[Any]) -> None:
    long = {"messages": [{"role": "user", "content": "bolt " * 200}, {"role": "assistant", "content": "no"}]}
    path = tmp_path / "train.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in (some_rows[0], long)))
    cut = encode_file(path, bundle, LengthPolicy(100, "truncate"))
    assert ([row.number for row in cut.rows], cut.dropped, cut.truncated) == ([1], [2], [])


@pytest.mark.parametrize("over_length", ["drop", "truncate"])
def test_each_answer_is_a_row_of_its_own_where_the_template_rewrites_earlier_turns(
    tmp_path: Path, over_length: Any
) -> None:
    """The trainer's rows and tokens are those that the validator counted, and the plan is made of."""
    bundle, row = families.bundle("mistral", marked=False), families.ROWS["system and several turns"][0]
    short = families.ROWS["system and one answer"][0]
    path = tmp_path / "train.jsonl"
    path.write_text("".join(json.dumps(one) + "\n" for one in (short, row, short)))
    texts = [list(tokenize(bundle, render_row(bundle, one))) for one in (short, row, short)]
    whole = encode_file(path, bundle, LengthPolicy(None, "reject"))
    assert [one.number for one in whole.rows] == [1, 2, 2, 3]
    assert [one.input_ids for one in whole.rows] == [text.encoding.ids for one in texts for text in one]
    assert [learned(bundle, one) for one in whole.rows] == [
        [" A bolt.</s>"],
        [" A bolt.</s>"],
        [" M5.</s>"],
        [" A bolt.</s>"],
    ]
    policy = LengthPolicy(len(texts[1][1]) - 1, over_length)
    cut = encode_file(path, bundle, policy)
    counted = TokenCheck(bundle, policy).rows([short, row, short])
    lengths = [length for one in counted for length in one.texts or (one.kept,) if length]
    assert [len(one.input_ids) for one in cut.rows] == lengths
    expected = ([1, 3], [2], []) if over_length == "drop" else ([1, 2, 2, 3], [], [2])
    assert ([one.number for one in cut.rows], cut.dropped, cut.truncated) == expected


def test_nothing_left_after_dropping_is_a_failure(tmp_path: Path, bundle: Bundle, some_rows: list[Any]) -> None:
    failure = refused(tmp_path, bundle, some_rows, max_tokens=3, over_length="drop")
    assert failure.problem.code == "no_rows"


PUBLIC = ROOT.parent / "shared/data/public"
CHAT = "Supervised_Fine_Tuning_Text-GSM8K_chat_train.jsonl"
TOOL_CALLS = "Supervised_Fine_Tuning_Tool-Calling_stock_toolcall_training.jsonl"


@pytest.mark.few_cases(1)
@pytest.mark.parametrize("name", [CHAT, TOOL_CALLS])
def test_public_files_train(
    name: str, tmp_path: Path, bench: Callable[..., Any], write_data: Any, resolved: Any
) -> None:
    path = PUBLIC / name
    if not path.exists():
        pytest.skip(f"public file {name} is not here")
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    data = write_data(tmp_path / "data", rows[:24], rows[24:28])
    recipe = resolved(max_length_tokens=2048, n_epochs=1, total_steps=4)
    run = bench(tmp_path, data=data, recipe=recipe)
    assert run.train() == 0
    losses = [point["loss"] for point in run.metrics() if "loss" in point]
    assert losses[-1] < losses[0]


def test_of_plain_text_every_token_is_learned(bundle: Any, tmp_path: Path) -> None:
    file = tmp_path / "train.jsonl"
    texts = ["Pumps hold oil.", "Valves do not."]
    file.write_text("".join(json.dumps({"text": text, "item": {}}) + "\n" for text in texts))
    rows = encode_file(file, bundle, LengthPolicy(64, "reject")).rows
    opening = len(bundle.tokenizer.encode(bundle.opening, add_special_tokens=False)) if bundle.opening else 0
    for row, text in zip(rows, texts, strict=True):
        assert row.labels[opening:] == row.input_ids[opening:]
        read = bundle.tokenizer.decode(row.input_ids, skip_special_tokens=False)
        assert read == bundle.opening + text + bundle.named_tokens["eos_token"]


def test_what_the_validator_reads_of_the_tiny_base_is_what_the_trainer_loads(random_base: Path, bundle: Any) -> None:
    assert read_bundle_folder(random_base).sha256 == bundle.sha256
