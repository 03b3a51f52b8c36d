"""Findings about the split: how many rows are held out, which labels, and how near they are to training rows."""

import math
import re
from array import array
from collections import Counter
from collections.abc import Callable, Iterable
from heapq import nsmallest
from itertools import groupby
from typing import Any, BinaryIO

import orjson
from rapidfuzz.distance import Levenshtein
from rapidfuzz.process import extractOne
from xxhash import xxh3_64_intdigest

from shared.domain.dataset import QuestionDistance
from shared.domain.evaluation import MAX_SLICE_CHARACTERS, MAX_SLICES
from shared.domain.findings import Findings, counted
from shared.domain.prompts import Row, prompt_of
from shared.domain.recipe import Gate, Recipe
from shared.domain.row_fields import as_equal_groups, group_of, value_at
from shared.validation.compared import Texts, compared_texts
from shared.validation.fields import UNSPACED
from shared.validation.keys import Keys
from shared.validation.labels import COVERAGE, LabelCount, Labels, find_labels, rank_of_label
from shared.validation.sink import RowCounter
from shared.validation.split import MAX_GROWN_SHARE, Split, SplitLabel

MIN_ROWS_OF_LABELS = 50
MAX_LABEL_SHARE = 0.9
MIN_LABEL_ROWS = 5
# Of a file: least and most rows that are compared, and the bytes that more than the least may take; the bytes of a row.
_TRAIN, _HELD_OUT, _ROW_BYTES = (50, 1000, 2**18), (20, 100, 2**15), 2**13
_OTHER_WORDS, _RECOMBINED = 3, 0.9  # measured: 0.93 and more where a template is filled in, at most 0.78 elsewhere
_WORD = re.compile(f"[{UNSPACED}]|[^\\s!-/:-@\\[-`{{-\xbf\u060c\u061f\u0964\u2010-\u206f{UNSPACED}]+")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
# Units are not as large as one likes.
_USUAL_DEVIATION = 0.25
Named = Callable[[Iterable[int]], str]


def report_sizes(
    held_out: int, copies: int, recipe: Recipe, split: Split | None, findings: Findings, groups: int | None = None
) -> None:
    """Whether so many held-out rows suffice, where nothing else forbids the run. `copies`: of these, of others;
    `groups`: independent ones; `split`: where they were chosen from the training rows."""
    if findings.failed:
        return
    needed, copies = recipe.evaluation.gate.min_rows, copies + (split.copies if split else 0)
    if not held_out:
        findings.add("no_eval_rows", "eval")
    elif held_out - copies < needed:
        rows = f"{held_out} held-out rows" + (f", {held_out - copies} without copies" if copies else "")
        remedy = _rows_to_add(needed, held_out - copies, split)
        found = ("few_eval_rows", f"{rows}, and the gate needs {needed}", remedy)
        findings.replace("duplicate_row", "eval", "", found if copies else None)  # one finding, with these rows
        if not findings.counts(found[0]):
            findings.add_many(found[0], "eval", found[1], 1, remedy=remedy)
    elif groups is not None and groups < needed:
        detail = f"their groups are worth {groups} of one size, and the gate needs {needed}"
        findings.add_many("few_eval_groups", "eval", detail, held_out)
    if split and held_out:
        _report_split(split, recipe, findings)


def _rows_to_add(needed: int, usable: int, split: Split | None) -> str:
    """`usable`: held-out rows without copies."""
    if split is None:
        return f"Add {counted(needed - usable, 'different row')} or more to the held-out file"
    in_all = math.ceil(needed / MAX_GROWN_SHARE)
    rows = f"Bring {in_all} different rows or more in all" if split.copies or split.rows < in_all else "Add rows"
    return f"{rows}, or a held-out file (eval.jsonl) of {needed}"


def why_no_slice(value: Any) -> str:
    """What is wrong with a value that a row is to be sorted by; empty if nothing is."""
    if isinstance(value, list | dict):
        return "an object" if isinstance(value, dict) else "a list"
    if isinstance(value, str) and len(value) > MAX_SLICE_CHARACTERS:
        return f"a text of more than {MAX_SLICE_CHARACTERS} characters"
    if isinstance(value, str) and _CONTROL.search(value):
        return "a text of several lines, or with other control characters"
    return ""


def held_out_groups(held_out: BinaryIO, group: str | None) -> int | None:
    """Independent groups, as of one size: by field, else by prompt. None where each row is one."""
    held_out.seek(0)
    # Eight bytes a row: the prompts of a large file do not fit into memory.
    marks = array("Q", (xxh3_64_intdigest(_group(orjson.loads(line), group) or line) for line in held_out))
    held_out.seek(0)
    sizes = [sum(1 for _ in alike) for _, alike in groupby(sorted(marks))]
    return as_equal_groups(sizes) if len(sizes) < len(marks) else None


def _group(row: Row, group: str | None) -> bytes | None:
    named = group_of(row.get("item", {}), group) if group else None
    return named or (None if "text" in row else orjson.dumps(prompt_of(row).body()))


def report_slices(held_out: Iterable[bytes], names: Iterable[str], findings: Findings) -> None:
    """Whether the fields that the evaluation slices by have few enough values. `held_out`: rows in canonical form."""
    found: dict[str, set[str]] = {name: set() for name in names}
    for line in held_out if found else ():
        item = orjson.loads(line)["item"]
        for name, values in found.items():
            if (value := value_at(item, name)) is not None:
                values.add(str(value))
        if sum(map(len, found.values())) > MAX_SLICES:
            findings.add("too_many_slices", "recipe", detail=max(found, key=lambda name: len(found[name])))
            return


def report_distance(counter: RowCounter, gate: Gate, findings: Findings) -> QuestionDistance | None:
    """None where a file has no question. Nothing is to be done where the gate asks for more than a lookup reaches."""
    learned = _sample(counter.sink.train, counter.rows["train"], *_TRAIN)
    held_out = _sample(counter.sink.eval, counter.rows["eval"], *_HELD_OUT)
    contexts = Counter(texts.context for texts in learned if texts.context)  # one of two rows or more is a word
    codes: dict[str, str] = {}  # a character for each word: texts of characters are compared fast

    def coded(texts: Texts) -> str:
        is_one_word = contexts[texts.context] > 1
        words = _WORD.findall(f"{'' if is_one_word else texts.context} {texts.question}".lower())
        return "".join([codes.setdefault(word, chr(len(codes))) for word in [texts.context] * is_one_word + words])

    near = {*map(coded, learned)} - {""}
    unknown = chr(len(codes))
    questions = {*map(coded, held_out)} - {""}
    if not near or not questions:
        return None
    similar = sorted(extractOne(text, near, scorer=Levenshtein.normalized_similarity)[1] for text in questions)
    known = {text: min(_OTHER_WORDS, len(text) // 2) for text in questions if max(text) < unknown}
    few = [extractOne(text, near, scorer=Levenshtein.distance, score_cutoff=most) for text, most in known.items()]
    found = QuestionDistance(
        train_questions=len(near),
        eval_questions=len(questions),
        similarity=tuple(round(similar[int(part * len(similar))], 3) for part in (0.1, 0.5, 0.9)),
        known_words=round(len(known) / len(questions), 3),
        recombined=round((len(few) - few.count(None)) / len(questions), 3),
    )
    if found.recombined >= _RECOMBINED and gate.gain_over_lookup is None and not findings.failed:
        findings.add("held_out_recombination", "eval", detail=f"{found.recombined:.0%} of {len(questions)}")
    return found


def _sample(file: BinaryIO, rows: int, least: int, most: int, size_bytes: int) -> list[Texts]:
    """Questions of the rows with the smallest hashes, so that their order makes no difference."""
    count = max(least, min(most, rows * size_bytes // max(1, file.seek(0, 2))))
    file.seek(0)
    lines = nsmallest(count, (line for line in file if len(line) <= _ROW_BYTES), key=xxh3_64_intdigest)
    file.seek(0)
    prompts = [prompt_of(row) for row in map(orjson.loads, lines) if "text" not in row]
    return [compared_texts([*prompt.messages, {"content": ""}], prompt.tools) for prompt in prompts]


def _report_split(split: Split, recipe: Recipe, findings: Findings) -> None:
    if split.separated_questions:
        rows = split.separated_questions
        findings.add_many("same_question_split", "train", counted(rows, "row"), rows)
    if split.separated:
        findings.add_many("near_duplicates_split", "train", f"{split.separated} rows", split.separated)
    reason = _why_not_the_share(split, recipe)
    if reason:
        share, requested = recipe.data.validation_split, f"{split.requested} ({split.requested / split.rows:.0%})"
        detail = (
            f"{split.held_out} of {split.rows} rows ({split.held_out / split.rows:.0%}) are held out, "
            f"data.validation_split: {share:g} asks for {requested}. {reason}"
        )
        findings.add_many("held_out_share", "train", detail, split.held_out)


def _why_not_the_share(split: Split, recipe: Recipe) -> str:
    if abs(split.held_out - split.target) > max(1, _USUAL_DEVIATION * split.target):
        if split.classifies and split.held_out > split.target:
            return (
                f"Each of {len(split.labels)} labels has to be in both splits, and rows that stay together make up "
                f"{split.units} groups, which cannot be split"
            )
        return f"Rows that stay together make up {split.units} groups, which cannot be split"
    if split.target == split.requested:
        return ""
    needed = recipe.evaluation.gate.min_rows
    if split.classifies and split.target == len(split.labels):
        return f"One row of each of {split.target} labels has to be among them"
    return f"The gate needs {needed}{' without copies' * (split.target > needed)} (evaluation.gate.min_rows)"


def split_labels(keys: Keys, labels: Labels, split: Split | None) -> tuple[SplitLabel, ...]:
    """Training and held-out rows of each label, most rows first; nothing where the answers are no labels."""
    if not labels.classifies:
        return ()
    if split is not None:
        chosen = {label.key: label for label in split.labels} if split.classifies else {}
        return tuple(chosen.get(label.key, SplitLabel(label.key, label.rows, 0)) for label in labels.counts)
    held_out = keys.held_out_labels()
    return tuple(SplitLabel(label.key, label.rows, held_out.get(label.key, 0)) for label in labels.counts)


def report_labels(keys: Keys, split: Split | None, named: Named, findings: Findings) -> Labels:
    """What is wrong with labels. `split`: of the training file; `named`: labels in words."""
    keys.take_labels_of_fields(rank_of_label)
    rows = keys.counts["train"]
    repeated = keys.repeated_labels()
    labels = find_labels(repeated, rows, share=0)
    if not labels.classifies:
        if len(repeated) == 1 and rows >= MIN_ROWS_OF_LABELS:
            _report_imbalance(repeated[0].rows, rows, findings)
        return labels
    if split is not None and not split.classifies:  # it has seen which rows say nearly the same
        return Labels((), classifies=False)
    if rows >= MIN_ROWS_OF_LABELS:
        _report_imbalance(labels.counts[0].rows, rows, findings)
        given, rare = keys.count_labels(MIN_LABEL_ROWS)
        if rare:
            detail = f"{counted(rare, 'label')} of {given} occur in fewer than {MIN_LABEL_ROWS} rows"
            findings.add_many("rare_label", "train", detail, rare)
    if split is None:
        _report_file_labels(keys, labels, named, findings)
        return labels
    if split.unshared:
        findings.add_many("label_not_held_out", "train", counted(split.unshared, "label"), split.unshared)
    if split.in_one_split:
        detail = f"{counted(split.in_one_split, 'label')}, for the groups of rows leave no other way"
        findings.add_many("label_in_one_split", "train", detail, split.in_one_split)
    return labels


def _report_imbalance(most: int, rows: int, findings: Findings) -> None:
    if most > MAX_LABEL_SHARE * rows:
        findings.add_many("label_imbalance", "train", f"{100 * most // rows} %", most)


def _report_file_labels(keys: Keys, labels: Labels, named: Named, findings: Findings) -> None:
    """Nothing where the held-out rows are not answered with labels: they ask for something else."""
    rows, held_out = keys.counts["eval"], keys.held_out_labels()
    known = sum(held_out.get(label.key, 0) for label in labels.counts)
    repeated = [LabelCount(key, count, count, count) for key, count in held_out.items() if count > 1]
    are_labels = find_labels(repeated, rows, share=0).few or (repeated and max(held_out.values()) >= COVERAGE * rows)
    if 2 * known < rows and not (labels.few and are_labels):
        return
    if missing := [label.key for label in labels.counts if label.key not in held_out]:
        detail = counted(len(missing), "label") + named(missing)
        findings.add_many("label_not_held_out", "train", detail, len(missing))
    detail = "in the held-out file, not in the training file" + named(key for key, _ in keys.rows("first_unknown"))
    for number, offset in keys.rows("unknown_labels") if labels.few else ():
        findings.add("label_in_one_split", "eval", number, offset, detail=detail)
