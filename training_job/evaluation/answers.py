"""Greedy answers of a model to held-out prompts, in batches, kept by content so that none is generated twice."""

import hashlib
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import orjson
import torch
import transformers
from torch.nn.functional import cross_entropy

from shared.domain.blank import is_blank
from shared.domain.catalog import TemplateArguments
from shared.domain.errors import FailureClass, PermanentFailure
from shared.domain.prompts import Row, prompt_of, reference_index, with_loss_on
from shared.rendering.bundle import Bundle
from shared.rendering.check import LengthPolicy
from shared.rendering.rows import Rendered, bounds, render_answers, render_prompt, tokenize
from training_job.data.chat_rows import IGNORED, bundle_of, encode_rows
from training_job.evaluation.scoring import Answers, Question
from training_job.job.checkpoints import hashes
from training_job.job.files import read_whole_json, write_json
from training_job.model.generation import end_ids, generate
from training_job.model.quantized import load_model, load_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedModel

BATCH_ROWS = 32


def question(bundle: Bundle, row: Row, number: int) -> Question:
    """A dialogue up to the answer that is evaluated; its reference is what the template writes after the prompt. Raises
    PermanentFailure `no_reference` of class data if nothing is seen of that answer: silence would be right."""
    prompt, index = prompt_of(row), reference_index(row)
    rendered = render_prompt(bundle, prompt)
    (tokens,) = tokenize(bundle, [rendered])
    reference = None if index is None else _reference(bundle, row, index)
    if reference is not None and is_blank(reference):
        message = f"held-out row {number} has no answer to compare with, or the chat template does not write it"
        raise PermanentFailure(FailureClass.DATA, "no_reference", message, "eval.jsonl")
    return Question(number, prompt.conversation(), list(tokens.encoding.ids), reference)


def _reference(bundle: Bundle, row: Row, index: int) -> str:
    """As a model would be read that answers what was learned: thoughts, channels and calls as the template has them."""
    ((text, spans),) = render_answers(bundle, with_loss_on(row, (index,)))
    start, end = spans[index]
    (tokens,) = tokenize(bundle, [Rendered(text, ((start, end),))])
    first, last = tokens.spans[0]
    if first >= last or bundle.says_nothing(text, (start, end)):
        return ""
    written = str(bundle.tokenizer.decode(tokens.encoding.ids[first:last], skip_special_tokens=True))
    return written.removeprefix(text[bounds(tokens.encoding, first)[0] : start])  # what a token has of the prompt


class TextGenerator:
    """A model folder that answers with its own tokenizer and template, loaded only if an answer is not in the folder
    `kept`: by SHA-256 of all files of the model, the prompts' token ids, settings, library versions and device."""

    def __init__(self, folder: Path, dtype: torch.dtype, kept: Path | None, arguments: TemplateArguments) -> None:
        self._folder, self._dtype, self._kept = folder, dtype, kept
        self.tokenizer = load_tokenizer(folder, arguments)
        self.bundle = bundle_of(self.tokenizer)

    def questions(self, rows: list[Row]) -> list[Question]:
        return [question(self.bundle, row, number) for number, row in enumerate(rows, start=1)]

    def answers(self, questions: list[Question], max_new_tokens: int, progress: Callable[[int], None]) -> Answers:
        """Greedy answers; `progress` gets the number answered so far."""
        if self._kept is None:
            return self._generate(questions, max_new_tokens, progress)
        path = self._kept / f"{self._key(questions, max_new_tokens)}.json"
        if found := read_whole_json(path):
            progress(len(questions))
            return Answers(**found)
        answers = self._generate(questions, max_new_tokens, progress)
        write_json(path, asdict(answers))
        return answers

    @torch.inference_mode()
    def losses(self, rows: list[Row]) -> list[float]:
        """Of each row's answer, in nats, summed over its tokens."""
        found = []
        model, encoded = self._model, encode_rows(rows, Path("rows"), self.bundle, LengthPolicy(sys.maxsize, "reject"))
        for row in encoded.rows:
            ids, labels = (torch.tensor(each, device=model.device) for each in (row.input_ids, row.labels))
            logits = model(input_ids=ids[None]).logits[0, :-1][labels[1:] != IGNORED]
            found.append(float(cross_entropy(logits.float(), labels[1:][labels[1:] != IGNORED], reduction="sum")))
        return found

    def _key(self, questions: list[Question], max_new_tokens: int) -> str:
        device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
        settings = [[*Answers.__annotations__], max_new_tokens, str(self._dtype), BATCH_ROWS, device]
        settings += [torch.__version__, transformers.__version__]
        content = [self._hashes, [one.ids for one in questions], settings]
        return hashlib.sha256(orjson.dumps(content)).hexdigest()

    @cached_property
    def _hashes(self) -> dict[str, str]:
        return hashes(self._folder)

    @cached_property
    def _model(self) -> "PreTrainedModel":
        model = load_model(self._folder, self._dtype, spread=True)
        model.eval()
        return model

    def _generate(self, questions: list[Question], max_new_tokens: int, progress: Callable[[int], None]) -> Answers:
        model = self._model
        order = sorted(range(len(questions)), key=lambda i: len(questions[i].ids))
        texts, tokens, at_limit = [""] * len(questions), [0] * len(questions), [False] * len(questions)
        ends = end_ids(model, self.tokenizer)
        started = time.monotonic()
        for start in range(0, len(order), BATCH_ROWS):
            batch = order[start : start + BATCH_ROWS]
            generated = generate(model, self.tokenizer, [questions[i].ids for i in batch], max_new_tokens)
            for i, ids in zip(batch, generated, strict=True):
                texts[i] = str(self.tokenizer.decode(ids, skip_special_tokens=True))
                tokens[i], at_limit[i] = len(ids), ids[-1] not in ends
            progress(start + len(batch))
        return Answers(texts, tokens, at_limit, time.monotonic() - started)
