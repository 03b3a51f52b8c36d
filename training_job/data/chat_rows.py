"""Curated files become token ids and labels, as `shared.rendering` renders them. Free of torch."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import orjson

from shared.domain.errors import FailureClass, PermanentFailure
from shared.domain.prompts import OUTPUTS, Row, prompt_of
from shared.rendering import check
from shared.rendering.bundle import Bundle
from shared.rendering.check import LengthPolicy, Readings
from shared.rendering.rows import Tokens, tokenize
from shared.rendering.template import TemplateNotTrainable

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


IGNORED = -100
Item = TypeVar("Item")  # what a method makes of a row
Codes = dict[str, list[int]]  # code of `shared.rendering.check` -> row numbers


@dataclass(frozen=True)
class Encoded:
    """One row: token ids `[length]` and labels `[length]`, IGNORED where no loss falls."""

    number: int
    input_ids: list[int]
    labels: list[int]

    @property
    def probed(self) -> "Encoded":
        """What the merged model and its adapter are compared on; likewise of pairs and prompts."""
        return self


@dataclass(frozen=True)
class EncodedFile(Generic[Item]):
    """The rows of one file that are used, and the numbers of those left out or cut for their length."""

    rows: list[Item]
    dropped: list[int] = field(default_factory=list)
    truncated: list[int] = field(default_factory=list)


def bundle_of(tokenizer: "PreTrainedTokenizerBase") -> Bundle:
    """What the validator reads from files, of the tokenizer that is trained and saved with; see `load_tokenizer`."""
    return Bundle.of(tokenizer.backend_tokenizer.to_str(), str(tokenizer.chat_template), tokenizer.special_tokens_map)


def _probe(row: Row) -> object:
    return row["text"] if "text" in row else row["messages"][0]["role"]


def read_rows(path: Path, probe: Callable[[Row], object] = _probe) -> list[Row]:
    """Canonical rows of a curated file, in order; row n is line n. `probe` fails on a row of another kind."""
    rows, broken = [], []
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        try:
            row = orjson.loads(line)
            probe(row)
        except (orjson.JSONDecodeError, KeyError, IndexError, TypeError):
            broken.append(number)
        else:
            rows.append(row)
    if broken:
        raise data_failure("bad_row", "not rows of this method", broken, path)
    return rows


def encode_file(path: Path, bundle: Bundle, policy: LengthPolicy) -> EncodedFile[Encoded]:
    """Encode every row of a curated file; see `encode_rows`."""
    return encode_rows(read_rows(path), path, bundle, policy)


def encode_rows(given: list[Row], path: Path, bundle: Bundle, policy: LengthPolicy) -> EncodedFile[Encoded]:
    """Encode rows, which `path` names. Raises PermanentFailure of class data, listing all rows concerned:
    `row_not_renderable`, `no_trainable_tokens`, `row_too_long` (only where over_length is reject), `no_rows`; of class
    recipe: `template_not_trainable`."""
    found: Codes = {}
    rows: list[Encoded] = []
    read = read_all(path, bundle, given)
    tokens = tokenize(bundle, [text for texts in read for text in texts])
    for number, texts in enumerate(read, start=1):
        together = [next(tokens) for _ in texts]
        checked = check.apply_length_policy_to_all(together, policy)
        for code in {code for one in checked for code in one.codes}:
            found.setdefault(code, []).append(number)
        rows += [encoded(one, number, its.kept) for one, its in zip(together, checked, strict=True) if its.kept]
    return encoded_file(rows, found, policy, path)


def encoded_file(rows: list[Item], found: Codes, policy: LengthPolicy, path: Path) -> EncodedFile[Item]:
    """The rows that are used, with the codes of all rows; raises what forbids training."""
    if silent := found.get("no_trainable_tokens"):
        raise data_failure("no_trainable_tokens", "without a single token to learn from", silent, path)
    if long := found.get("too_many_tokens"):
        raise data_failure("row_too_long", f"longer than {policy.limit} tokens", long, path)
    if not rows:
        raise PermanentFailure(FailureClass.DATA, "no_rows", f"{path.name}: no row is left", path.name)
    dropped = {*found.get("row_dropped", []), *found.get("truncated_to_nothing", [])}
    return EncodedFile(rows, sorted(dropped), sorted(set(found.get("row_truncated", [])) - dropped))


def read_all(path: Path, bundle: Bundle, rows: Iterable[Row]) -> list[Readings]:
    """What is read of each canonical row of a file; see `encode_file` for what is raised."""
    read: list[Readings] = []
    broken: dict[int, str] = {}
    for number, row in enumerate(rows, start=1):
        try:
            read.append(check.readings(bundle, row))
        except TemplateNotTrainable as error:
            message = f"{path.name}: the base model's chat template shows no text to learn of row {number}"
            raise PermanentFailure(FailureClass.RECIPE, "template_not_trainable", message) from error
        except Exception as error:  # a template may raise anything, and may quote the row while doing so
            broken[number] = bundle.template.words_of(error)
    if broken:
        what = f"refused by the chat template ({next(iter(broken.values()))})"
        raise data_failure("row_not_renderable", what, list(broken), path)
    return read


def encoded(tokens: Tokens, number: int, kept: int) -> Encoded:
    """The first `kept` tokens of a row, with its labels."""
    ids = list(tokens.encoding.ids)
    labels = [IGNORED] * len(ids)
    for start, end in tokens.spans:
        labels[start:end] = ids[start:end]
    return Encoded(number, ids[:kept], labels[:kept])


def data_failure(code: str, what: str, numbers: list[int], path: Path) -> PermanentFailure:
    """A data failure that names rows by number and quotes none of them."""
    shown = ", ".join(map(str, numbers[:20]))
    if len(numbers) > 20:
        shown += f" and {len(numbers) - 20} more"
    rows = "row" if len(numbers) == 1 else "rows"
    message = f"{path.name}: {len(numbers)} {rows} {what}: {rows} {shown}"
    return PermanentFailure(FailureClass.DATA, code, message, path.name)


@dataclass(frozen=True)
class Pair:
    """Two answers to one prompt, each with the prompt before it; loss falls on the answers."""

    chosen: Encoded
    rejected: Encoded

    @property
    def number(self) -> int:
        return self.chosen.number

    @property
    def probed(self) -> Encoded:
        return self.chosen


def encode_pairs(path: Path, bundle: Bundle, policy: LengthPolicy) -> EncodedFile[Pair]:
    """Encode every pair of a curated file; what befalls one answer befalls the pair. Raises as `encode_rows`."""
    rows = read_rows(path, lambda row: (row["input"]["messages"][0]["role"], [row[one][0]["role"] for one in OUTPUTS]))
    texts = [text for pair in read_all(path, bundle, rows) for text in pair]
    tokens = list(tokenize(bundle, texts))
    found: Codes = {}
    pairs = []
    for number, outputs in enumerate(zip(tokens[::2], tokens[1::2], strict=True), start=1):
        checked = [check.apply_length_policy(output, policy) for output in outputs]
        for code in {code for verdict in checked for code in verdict.codes}:
            found.setdefault(code, []).append(number)
        if all(verdict.kept for verdict in checked):
            pairs.append(Pair(*(encoded(output, number, v.kept) for output, v in zip(outputs, checked, strict=True))))
    return encoded_file(pairs, found, policy, path)


@dataclass(frozen=True)
class EncodedPrompt:
    """A row without its answer: token ids `[length]`, up to the assistant's turn, and the fields graders read."""

    number: int
    ids: list[int]
    item: dict[str, Any]

    @property
    def probed(self) -> Encoded:
        return Encoded(self.number, self.ids, [IGNORED] * len(self.ids))


def encode_prompts(path: Path, bundle: Bundle, policy: LengthPolicy) -> EncodedFile[EncodedPrompt]:
    """Encode every prompt of a curated file. One that is too long is never cut. Raises as `encode_rows`."""
    rows = read_rows(path, lambda row: row["messages"][0]["role"])
    texts = [text for (text,) in read_all(path, bundle, rows)]
    found: Codes = {}
    prompts = []
    for number, (row, tokens) in enumerate(zip(rows, tokenize(bundle, texts), strict=True), start=1):
        checked = check.apply_length_policy_to_prompt(tokens, policy)
        for code in checked.codes:
            found.setdefault(code, []).append(number)
        if checked.kept:
            item = row.get("item", {}) | prompt_of(row).item()
            prompts.append(EncodedPrompt(number, list(tokens.encoding.ids), item))
    return encoded_file(prompts, found, policy, path)
