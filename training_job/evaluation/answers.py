"""Greedy answers of a model to held-out prompts, in batches, kept by content so that none is generated twice."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import orjson
import torch
import transformers

from shared.domain.blank import is_blank
from shared.domain.errors import FailureClass, PermanentFailure
from shared.rendering import Bundle, normalized
from shared.rendering.check import is_prompt
from shared.rendering.rows import OUTPUTS, with_output
from training_job.data.chat_rows import IGNORED, Row, bundle_of, encode_row
from training_job.job.files import write_json
from training_job.model.generation import generate
from training_job.model.quantized import load_model, load_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedModel

BATCH_ROWS = 32


@dataclass(frozen=True)
class Question:
    """A held-out row without its answer: last user message, prompt token ids `[length]`, expected answer if any."""

    number: int
    prompt: str
    ids: list[int]
    reference: str | None


@dataclass(frozen=True)
class Answers:
    """One model's answers, in the order of the questions; `seconds` for all of them, in batches."""

    texts: list[str]
    tokens: list[int]
    seconds: float


def as_dialogue(row: Row) -> Row:
    """A canonical row as a dialogue to continue; a preference pair as its prompt and the preferred answer.

    Raises KeyError for plain text, to which nothing can be answered.
    """
    if "input" in row:
        return {**with_output(row, OUTPUTS[0]), "item": row.get("item", {})}
    row["messages"][0]["role"]
    return row


def reference_index(row: Row) -> int | None:
    """Index of the message that answers are compared with: the last that is learned. A prompt has none."""
    if is_prompt(row):
        return None
    indices = [i for i, one in enumerate(row["messages"]) if one["role"] == "assistant" and one.get("weight", 1)]
    return indices[-1] if indices else None


def question(bundle: Bundle, row: Row, number: int) -> Question:
    """The row up to the answer that is evaluated; a tool call's reference is the template's text of it.

    Raises PermanentFailure `no_reference` of class data if nothing is seen of that answer: silence would be right.
    """
    index = reference_index(row)
    before = row["messages"][:index]
    prompt = bundle.template.render(normalized(before), row.get("tools"), ask=True)
    ids = bundle.tokenizer.encode(prompt, add_special_tokens=False).ids
    reference = None if index is None else _reference(bundle, row, index)
    if reference is not None and is_blank(reference):
        message = f"held-out row {number} has no answer to compare with, or the chat template does not write it"
        raise PermanentFailure(FailureClass.DATA, "no_reference", message, "eval.jsonl")
    user_texts = [message.get("content") or "" for message in before if message["role"] == "user"]
    return Question(number, user_texts[-1] if user_texts else "", list(ids), reference)


def _reference(bundle: Bundle, row: Row, index: int) -> str:
    answer = row["messages"][index]
    if not answer.get("tool_calls"):
        return str(answer["content"])
    context = [{**m, "weight": 0} if m["role"] == "assistant" else m for m in row["messages"][:index]]
    labels = encode_row(bundle, {**row, "messages": [*context, answer]}).labels
    trained = [label for label in labels if label != IGNORED]
    return str(bundle.tokenizer.decode(trained, skip_special_tokens=True))


class TextGenerator:
    """A model folder that answers with its own tokenizer and template, and is loaded only if an answer is not kept yet.

    `kept`: a folder of answers, named by the SHA-256 of everything they depend on: every file of the model, the
    prompts' token ids, the settings, the library versions and the device.
    """

    def __init__(self, folder: Path, dtype: torch.dtype, kept: Path | None) -> None:
        self._folder, self._dtype, self._kept = folder, dtype, kept
        self.tokenizer = load_tokenizer(folder)
        self.bundle = bundle_of(self.tokenizer)

    def questions(self, rows: list[Row]) -> list[Question]:
        return [question(self.bundle, row, number) for number, row in enumerate(rows, start=1)]

    def answers(self, questions: list[Question], max_new_tokens: int, progress: Callable[[int], None]) -> Answers:
        """Greedy answers; `progress` gets the number answered so far."""
        if self._kept is None:
            return self._generate(questions, max_new_tokens, progress)
        path = self._kept / f"{self._key(questions, max_new_tokens)}.json"
        if path.exists():
            progress(len(questions))
            return Answers(**orjson.loads(path.read_bytes()))
        answers = self._generate(questions, max_new_tokens, progress)
        write_json(path, asdict(answers))
        return answers

    def _key(self, questions: list[Question], max_new_tokens: int) -> str:
        device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
        settings = [max_new_tokens, str(self._dtype), BATCH_ROWS, torch.__version__, transformers.__version__, device]
        content = [self._model_sha256, [one.ids for one in questions], settings]
        return hashlib.sha256(orjson.dumps(content)).hexdigest()

    @cached_property
    def _model_sha256(self) -> str:
        digest = hashlib.sha256()
        for path in sorted(path for path in self._folder.rglob("*") if path.is_file()):
            digest.update(f"{path.relative_to(self._folder)}\0".encode())
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        return digest.hexdigest()

    @cached_property
    def _model(self) -> PreTrainedModel:
        model = load_model(self._folder, self._dtype, spread=True)
        model.eval()
        return model

    def _generate(self, questions: list[Question], max_new_tokens: int, progress: Callable[[int], None]) -> Answers:
        model = self._model
        order = sorted(range(len(questions)), key=lambda i: len(questions[i].ids))
        texts, tokens = [""] * len(questions), [0] * len(questions)
        started = time.monotonic()
        for start in range(0, len(order), BATCH_ROWS):
            batch = order[start : start + BATCH_ROWS]
            generated = generate(model, self.tokenizer, [questions[i].ids for i in batch], max_new_tokens)
            for i, ids in zip(batch, generated, strict=True):
                texts[i] = str(self.tokenizer.decode(ids, skip_special_tokens=True))
                tokens[i] = len(ids)
            progress(start + len(batch))
        return Answers(texts, tokens, time.monotonic() - started)
