"""How near held-out questions are to training questions, and when the report says that they recombine them."""

from __future__ import annotations

import io
import json
import random
from collections.abc import Iterable, Sequence
from itertools import product
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.domain.dataset import QuestionDistance
from shared.domain.findings import Findings
from shared.domain.recipe import Gate
from shared.validation.held_out import report_distance
from shared.validation.sink import RowCounter, Sink
from shared.validation.validator import ALL_CODES
from tests.unit.shared.validation.conftest import Check

CODE = "held_out_recombination"
Questions = Sequence[str | tuple[str, str]]  # questions, or system messages with questions


def distance(train: Questions, held_out: Questions) -> tuple[QuestionDistance | None, bool]:
    """And whether the report warns."""
    findings = Findings(ALL_CODES)
    return report_distance(written(map(chat, train), map(chat, held_out)), Gate(), findings), bool(findings.codes)


def written(train: Iterable[dict[str, Any]], held_out: Iterable[dict[str, Any]]) -> RowCounter:
    counter = RowCounter(Sink(io.BytesIO(), io.BytesIO()))
    for row in train:
        counter.write("train", orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))
    for row in held_out:
        counter.write("eval", orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))
    counter.finish()
    return counter


def chat(question: str | tuple[str, str]) -> dict[str, Any]:
    system, text = ("", question) if isinstance(question, str) else question
    messages = [{"role": "system", "content": system}] if system else []
    messages += [{"role": "user", "content": text}, {"role": "assistant", "content": "yes"}]
    return {"messages": messages, "item": {}}


def filled(template: str, *slots: str) -> tuple[list[str], list[str]]:
    """All that the values of the slots make of it: a fifth held out, so that each value is in both."""
    made = [template.format(*values) for values in product(*(slot.split() for slot in slots))]
    random.Random(5).shuffle(made)
    return made[len(made) // 5 :], made[: len(made) // 5]


NOUNS = "pump press oven crane mixer lathe mill saw"
FAULTS = "noise leak smoke heat jam fire dust rust"
TONES = ("briefly", "kindly", "drily")
SHIFTS = "monday tuesday friday sunday"
OTHERS = [f"our {noun} went wrong again, help" for noun in NOUNS.split()]
WORDS = [f"word{n}" for n in range(400)]
TEXTS = [" ".join(random.Random(n).choices(WORDS, k=12)) for n in range(120)]
NOTES = [" ".join(random.Random(n).sample(WORDS, 30)) for n in range(120)]
SHORT = [" ".join(random.Random(n).choices(WORDS[:40], k=4)) for n in range(150)]
ONE_SLOT = [
    [f"{start} {noun}?" for noun in f"{NOUNS} {FAULTS}".split()]
    for start in ("What is a", "Spell the word", "Translate")
]

CASES: dict[str, tuple[Questions, Questions, bool]] = {
    "one slot in three templates": (
        [one for n, ones in enumerate(ONE_SLOT) for one in ones[n % 2 :: 2] + ones[:4]],
        [ones[n] for ones in ONE_SLOT for n in (12, 14)][:4],
        True,
    ),
    "two slots": (*filled("The {} has a {}.", NOUNS, FAULTS), True),
    "three slots": (*filled("{} on the {}, since {}", FAULTS, NOUNS, SHIFTS), True),
    "two slots of a long template": (*filled(f"{NOTES[0]} {{}} {NOTES[1]} {{}}", NOUNS, FAULTS), True),
    "two words": (*filled("{} {}", NOUNS, FAULTS), True),
    "capitals and signs differ": (
        filled("The {} has a {}.", NOUNS, FAULTS)[0],
        [one.upper().replace(".", "!?") for one in filled("The {} has a {}.", NOUNS, FAULTS)[1]],
        True,
    ),
    "a paraphrase": (filled("The {} has a {}.", NOUNS, FAULTS)[0], OTHERS, False),
    "the words of training questions in another order": (
        TEXTS,
        [" ".join(sorted(text.split())) for text in TEXTS],
        False,
    ),
    "texts": (TEXTS[:100], TEXTS[100:], False),
    "a template around texts": (
        [f"Triage this: {one}" for one in NOTES[:100]],
        [f"Triage this: {one}" for one in NOTES[100:]],
        False,
    ),
    "longer than the training questions": (
        TEXTS[:50],
        [f"{text} {TEXTS[n]}" for n, text in enumerate(TEXTS[:50])],
        False,
    ),
    "shorter than the training questions": (TEXTS[:50], [" ".join(text.split()[:4]) for text in TEXTS[:50]], False),
    "a number that is new each time": (
        [f"What is {n}?" for n in range(90)],
        [f"What is {n}?" for n in range(90, 120)],
        False,
    ),
    "one training row": (["The pump has a leak."], ["The pump has a jam."], False),
    "one training row and its words": (["The pump has a leak"], ["The leak has a pump"], True),
    "one of three system messages": (
        [(f"You answer {tone}.", one) for n, tone in enumerate(TONES) for one in TEXTS[n::3]],
        [(f"You answer {tone}.", one) for n, tone in enumerate(TONES) for one in TEXTS[n - 1 :: 3]],
        True,
    ),
    "a long system message for all rows": (
        [(NOTES[0] * 3, one) for one in TEXTS[:100]],
        [(NOTES[0] * 3, one) for one in TEXTS[100:]],
        False,
    ),
    "short questions after a long system message": (
        [(NOTES[0], one) for one in SHORT[:100]],
        [(NOTES[0], one) for one in SHORT[100:]],
        False,
    ),
    "three quarters that recombine": (
        filled("The {} has a {}.", NOUNS, FAULTS)[0],
        filled("The {} has a {}.", NOUNS, FAULTS)[1] + TEXTS[:4],
        False,
    ),
    "one question about system messages": (
        [(one, "Triage?") for one in NOTES[:100]],
        [(one, "Triage?") for one in NOTES[100:]],
        False,
    ),
    "system messages from a template": (
        [(one, "Triage?") for one in filled("The {} has a {}.", NOUNS, FAULTS)[0]],
        [(one, "Triage?") for one in filled("The {} has a {}.", NOUNS, FAULTS)[1]],
        True,
    ),
    "Chinese": (*filled("{}出现{}怎么办", "水泵 压机 烤炉 吊车 铣床", "漏水 冒烟 噪音 发热 卡住"), True),
    "Chinese texts": (
        ["今天天气很好我们去公园散步", "请把这份合同翻译成英文"] * 5,
        ["机器坏了怎么办", "明天早上几点开会"] * 5,
        False,
    ),
    "Thai": (*filled("{}มี{}", "เตา ถัง รถ จอ", "ไฟ น้ำ ไอ ดิน"), True),
    "Hindi": (*filled("{} में {} है", "पंप भट्ठी क्रेन आरी मिल", "रिसाव धुआँ शोर जंग आग"), True),
    "Arabic": (*filled("هل في {} {}؟", "المضخة الفرن الرافعة المنشار", "تسرب دخان ضجيج صدأ"), True),
    "Russian": (*filled("Узел «{}»: {}?", "насос печь кран пила", "течь дым шум пыль"), True),
    "Korean": (*filled("{}에서 {} 발생", "펌프 오븐 크레인 톱", "누수 연기 소음 먼지"), True),
}


@pytest.mark.few_cases(8)
@pytest.mark.parametrize(("train", "held_out", "warns"), CASES.values(), ids=CASES)
def test_a_warning_says_that_held_out_questions_recombine_training_questions(
    train: Questions, held_out: Questions, warns: bool
) -> None:
    found, warned = distance(train, held_out)
    assert found is not None
    assert warned is warns, found
    assert warned is (found.recombined >= 0.9)
    assert found.recombined <= found.known_words


def test_figures_are_those_of_the_nearest_training_question() -> None:
    train = ["a b c d", "a b c d e f", "x"]
    found, _ = distance(train, ["A b, c e", "a b c d e f", "new words only here", "b"])
    assert found == QuestionDistance(
        train_questions=3, eval_questions=4, similarity=(0.0, 0.75, 1.0), known_words=0.75, recombined=0.5
    )


def test_a_system_message_of_several_rows_is_one_word() -> None:
    train = [("Be brief.", "one two"), ("Be brief.", "three four"), ("Be very kind.", "five"), ("Be very kind.", "six")]
    found, _ = distance(train, [("Be very kind.", "one two")])
    assert found is not None
    assert (found.similarity[1], found.known_words) == (0.667, 1.0)


WORD_LISTS = st.lists(st.lists(st.sampled_from("abcdef"), min_size=1, max_size=6).map(" ".join), min_size=1, max_size=6)


def edits(one: list[str], other: list[str]) -> int:
    """Wagner and Fischer 1974."""
    row = list(range(len(other) + 1))
    for number, word in enumerate(one, start=1):
        before, row = row, [number]
        for place, known in enumerate(other, start=1):
            row.append(min(before[place] + 1, row[-1] + 1, before[place - 1] + (word != known)))
    return row[-1]


@settings(max_examples=30)
@given(train=WORD_LISTS, held_out=WORD_LISTS)
def test_figures_are_those_of_the_textbook(train: list[str], held_out: list[str]) -> None:
    known, new = [one.split() for one in {*train}], [one.split() for one in {*held_out}]
    words = {word for one in known for word in one}
    old = [one for one in new if words.issuperset(one)]
    few = [one for one in old if min(edits(one, other) for other in known) <= min(3, len(one) // 2)]
    nearest = sorted(max(1 - edits(one, other) / max(len(one), len(other)) for other in known) for one in new)
    found, _ = distance(train, held_out)
    assert found is not None
    assert found.similarity[1] == pytest.approx(nearest[len(nearest) // 2], abs=0.0006)
    assert (found.known_words, found.recombined) == (round(len(old) / len(new), 3), round(len(few) / len(new), 3))


NOTHING: dict[str, tuple[list[dict[str, Any]], list[dict[str, Any]]]] = {
    "no rows": ([], []),
    "no held-out row": ([chat("one two")], []),
    "no training row": ([], [chat("one two")]),
    "plain text": ([{"text": "one two", "item": {}}], [chat("one two")]),
    "signs alone": ([chat("?!")], [chat("one")]),
    "long rows": ([chat("word " * 2000)], [chat("one")]),
}


@pytest.mark.parametrize(("train", "held_out"), NOTHING.values(), ids=NOTHING)
def test_without_questions_there_is_nothing_to_compare(
    train: list[dict[str, Any]], held_out: list[dict[str, Any]]
) -> None:
    assert report_distance(written(train, held_out), Gate(), Findings(ALL_CODES)) is None


def test_a_preference_pair_and_a_prompt_are_compared_by_what_they_ask() -> None:
    prompt = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "one two three"}]
    answer = [{"role": "assistant", "content": "four"}]
    pair = {"input": {"messages": prompt}, "preferred_output": answer, "non_preferred_output": answer, "item": {}}
    for row in (pair, {"messages": prompt, "item": {}}, {"messages": prompt + answer, "item": {}}):
        found = report_distance(written([row] * 2, [row]), Gate(), Findings(ALL_CODES))
        assert found is not None
        assert found.similarity == (1.0, 1.0, 1.0)


def test_of_many_rows_the_same_sample_is_compared_whatever_their_order() -> None:
    train, held_out = [f"{n} a b" for n in range(1200)], [f"{n} A b" for n in range(0, 1200, 6)]
    found, _ = distance(train, held_out)
    again, _ = distance(train[::-1], held_out[::-1])
    assert found == again
    assert found is not None
    assert (found.train_questions, found.eval_questions) == (1000, 100)
    assert 0.6 < found.known_words < 1, "five of six training questions are compared"


def test_of_long_rows_fewer_are_compared_and_twenty_at_least() -> None:
    long = [f"{note} {note} {n}" for n in range(6) for note in NOTES]
    found, _ = distance(long, [f"{one} {one} {one} {one}" for one in long[:100]])
    assert found is not None
    assert 300 < found.train_questions < 700
    assert found.eval_questions == 20


def lines(questions: Iterable[str]) -> bytes:
    rows = (
        {"messages": [{"role": "user", "content": one}, {"role": "assistant", "content": " ".join(one.split()[::-1])}]}
        for one in questions
    )
    return "\n".join(map(json.dumps, rows)).encode()


@pytest.mark.parametrize(("gain", "files", "warns"), [("null", 2, True), ("null", 1, True), ("0", 2, False)])
def test_a_gate_that_asks_for_a_gain_over_a_lookup_answers_the_warning(
    check: Check, gain: str, files: int, warns: bool
) -> None:
    train, held_out = filled("{} on the {}, since {}", FAULTS, NOUNS, SHIFTS)
    recipe = f"evaluation: {{gate: {{gain_over_lookup: {gain}}}}}".encode()
    checked = check(lines(train), lines(held_out) if files == 2 else None, recipe)
    assert checked.errors == []
    assert (CODE in checked.codes) is warns
    found = checked.result.report.quality.distance
    assert found is not None
    assert found.recombined >= 0.9


def test_data_that_is_refused_gets_no_such_warning(check: Check) -> None:
    train, held_out = filled("{} on the {}, since {}", FAULTS, NOUNS, SHIFTS)
    checked = check(lines([*train, held_out[0]]), lines(held_out))
    assert checked.errors == ["train_eval_overlap"]
    assert CODE not in checked.codes
    wrong = check(lines(train), lines(held_out), b"evaluation: {gate: {gain_over_lookup: much}}")
    assert CODE not in wrong.codes
    checked = check(lines(train[:60]), lines(held_out[:12]))
    assert checked.errors == ["few_eval_rows"]
    assert CODE not in checked.codes
