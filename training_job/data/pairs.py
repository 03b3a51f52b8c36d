"""Preference rows become pairs of answers in tokens. Free of torch."""

from dataclasses import dataclass
from pathlib import Path

from shared.domain.prompts import OUTPUTS, Row
from shared.rendering import Bundle, tokenize
from shared.rendering.check import LengthPolicy, apply_length_policy
from training_job.data.chat_rows import Codes, Encoded, EncodedFile, encoded, encoded_file, read_all, read_rows


@dataclass(frozen=True)
class Pair:
    """Two answers to one prompt, each with the prompt before it; loss falls on the answers."""

    chosen: Encoded
    rejected: Encoded


def encode_pairs(path: Path, bundle: Bundle, policy: LengthPolicy) -> EncodedFile[Pair]:
    """Encode every pair of a curated file; what befalls one answer for its length befalls the pair.

    Raises PermanentFailure as `chat_rows.encode_file` does; `bad_row` where a line is no preference row.
    """
    texts = [text for pair in read_all(path, bundle, read_rows(path, _is_pair)) for text in pair]
    tokens = list(tokenize(bundle, texts))
    found: Codes = {}
    pairs = []
    for number, outputs in enumerate(zip(tokens[::2], tokens[1::2], strict=True), start=1):
        checked = [apply_length_policy(output, policy) for output in outputs]
        for code in {code for verdict in checked for code in verdict.codes}:
            found.setdefault(code, []).append(number)
        if all(verdict.kept for verdict in checked):
            pairs.append(Pair(*(encoded(output, number, v.kept) for output, v in zip(outputs, checked, strict=True))))
    return encoded_file(pairs, found, policy, path)


def _is_pair(row: Row) -> object:
    return row["input"]["messages"][0]["role"], [row[output][0]["role"] for output in OUTPUTS]
