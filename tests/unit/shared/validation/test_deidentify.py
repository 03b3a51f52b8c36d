"""De-identification through the whole validator, with the recognizer of addresses and a list of names as the finder."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.dataset import DatasetRef
from shared.domain.findings import Findings, Place
from shared.domain.recipe import Deidentify
from shared.validation.codes import CONTENT_CODES
from shared.validation.content.personal_data import Found
from shared.validation.curated import curated_version
from shared.validation.deidentify import ROWS_AT_A_TIME, Deidentifier, Numbers
from shared.validation.reader import ReadRow
from shared.validation.rows import row_of
from tests.unit.shared.validation.conftest import Check
from training_job.names.engine import addresses

Rows = Callable[..., bytes]
ADDRESS = "48 Larkspur Lane, Naperville, IL 60540"
SOURCE = DatasetRef(path="datasets/part-codes/train.jsonl", etag="1", size_bytes=1, sha256="0" * 64)


@dataclass
class ListedNames:
    """Finds addresses by their form, and the persons and places of a list."""

    persons: tuple[str, ...] = ("Maria Keller", "Keller", "Maria", "Omar Diaz")
    places: tuple[str, ...] = ("Toledo", "Lyon")

    def find(self, rows: list[list[str]]) -> list[list[list[Found]]]:
        return [[self._in(text) for text in texts] for texts in rows]

    def _in(self, text: str) -> list[Found]:
        found = [Found("postal_address", *span) for span in addresses(text)]
        for kind, names in (("person", self.persons), ("place", self.places)):
            for match in re.finditer("|".join(map(re.escape, names)), text):
                if not any(one.start < match.end() and match.start() < one.end for one in found):
                    found.append(Found(kind, *match.span()))
        return sorted(found, key=lambda one: one.start)


def dialogue(question: str, answer: str, **item: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}], **item}


NAMED = dialogue(f"Maria Keller of {ADDRESS} moved to Toledo.", "Ms. Keller lives in Toledo now.")
RECIPES = {
    "block": (b"data: {deidentify: {policy: block}}", "name", "error"),
    "redact": (b"data: {deidentify: {policy: redact}}", "name_redacted", "warning"),
    "allow": (b"data: {deidentify: {policy: allow}}", "name_allowed", "warning"),
}


@pytest.mark.parametrize("policy", RECIPES)
def test_a_policy_blocks_replaces_or_counts_each_type(policy: str, check: Check, rows: Rows) -> None:
    recipe, code, severity = RECIPES[policy]
    checked = check(rows(60, NAMED), recipe=recipe, names=ListedNames)
    found = [one for one in checked.result.report.problems if one.code == code]
    counted = [(one.severity, one.count, one.rows, one.message.rsplit(": ", 1)[1]) for one in found]
    kinds = ("names of persons.", "places.", "postal addresses.")
    assert counted == [(severity, 1, (61,), kind) for kind in kinds]
    assert checked.result.report.passed is (policy != "block")
    assert "Keller" not in checked.result.report.model_dump_json()
    assert (b"Keller" in checked.train + checked.eval) is (policy != "redact")


def test_a_person_has_one_number_in_prompt_and_answer(check: Check, rows: Rows) -> None:
    checked = check(rows(60, NAMED), recipe=RECIPES["redact"][0], names=ListedNames)
    [line] = [line for line in (checked.train + checked.eval).splitlines() if b"PERSON" in line]
    contents = [message["content"] for message in json.loads(line)["messages"]]
    assert contents == [
        "[PERSON_1] of [POSTAL_ADDRESS_1] moved to [PLACE_1].",
        "Ms. [PERSON_1] lives in [PLACE_1] now.",
    ]


SHAPES: dict[str, tuple[dict[str, Any], bytes]] = {
    "a field for a grader": (
        dialogue("Who?", "x", who="Maria Keller", more={"all": ["Omar Diaz", 3]}),
        b"evaluation: {graders: [{type: string_check, name: a, input: '{{sample.output_text}}', "
        b"reference: '{{item.who}} {{item.more}}', operation: eq}]}",
    ),
    "arguments of a call": (
        {
            "tools": [{"type": "function", "function": {"name": "find", "parameters": {"type": "object"}}}],
            "messages": [
                {"role": "user", "content": "Find her."},
                {
                    "role": "assistant",
                    "content": "",
                    "tool_calls": [
                        {
                            "id": "1",
                            "type": "function",
                            "function": {"name": "find", "arguments": '{"who": "Maria Keller"}'},
                        }
                    ],
                },
                {"role": "tool", "tool_call_id": "1", "content": "Maria Keller, Lyon"},
                {"role": "assistant", "content": "Keller is in Lyon."},
            ],
        },
        b"",
    ),
    "a system message": (
        {
            "messages": [
                {"role": "system", "content": "Help Omar Diaz."},
                *dialogue("Hi", "Hello Omar Diaz")["messages"],
            ]
        },
        b"",
    ),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_no_text_of_a_row_keeps_a_name(shape: str, check: Check, rows: Rows) -> None:
    row, recipe = SHAPES[shape]
    filled = {name: value for name, value in row.items() if name in ("who", "more")}
    checked = check(rows(60, row, **filled), recipe=b"data: {deidentify: {}}\n" + recipe, names=ListedNames)
    written = checked.train + checked.eval
    assert [name for name in (b"Keller", b"Omar", b"Lyon") if name in written] == []
    assert b"[PERSON_1]" in written


def test_both_answers_of_a_pair_are_replaced(check: Check) -> None:
    pairs = [
        {"prompt": f"Who is {n}?", "chosen": f"Maria Keller, number {n}", "rejected": f"Omar Diaz and Keller, not {n}"}
        for n in range(80)
    ]
    text = "\n".join(map(json.dumps, pairs)).encode()
    recipe = b"method: {type: dpo}\ndata: {deidentify: {}}"
    checked = check(text, recipe=recipe, names=ListedNames)
    assert checked.errors == []
    assert all(
        b"[PERSON_1], number" in line and b"[PERSON_2] and [PERSON_1], not" in line for line in lines(checked.train)
    )


def lines(text: bytes) -> list[bytes]:
    return text.splitlines()


def test_only_the_types_that_are_asked_for_are_replaced_and_the_rest_is_said(check: Check, rows: Rows) -> None:
    checked = check(rows(60, NAMED), recipe=b"data: {deidentify: {types: [place]}}", names=ListedNames)
    assert b"Maria Keller of 48 Larkspur Lane, Naperville, IL 60540 moved to [PLACE_1]." in checked.train + checked.eval
    report = checked.result.report
    assert report.not_searched_for == ("names of persons", "postal addresses", "names in other languages than English")
    policy = curated_version(checked.result, "part-codes", SOURCE).policy
    assert policy.deidentify == Deidentify(types=("place",))


@pytest.mark.parametrize(
    ("names", "code", "passed"), [(lambda: None, "name_model_missing", False), (None, "name_not_searched", True)]
)
def test_a_check_without_a_model_says_so(names: Any, code: str, passed: bool, check: Check, rows: Rows) -> None:
    checked = check(rows(60), recipe=b"data: {deidentify: {}}", names=names)
    assert (
        [one.code for one in checked.result.report.problems if "name_" in one.code],
        checked.result.report.passed,
    ) == (
        [code],
        passed,
    )
    assert checked.result.report.not_searched_for == ("names of persons", "places", "postal addresses")


def test_the_model_is_not_loaded_where_nothing_asks_for_names(check: Check, rows: Rows) -> None:
    def load() -> None:
        raise AssertionError("loaded")

    assert check(rows(60), names=load).result.report.passed


def test_groups_that_are_named_after_persons_stay_apart(check: Check, rows: Rows) -> None:
    names = ("Maria Keller", "Omar Diaz", "Lyon", "Toledo")
    more = [dialogue(f"Question {n} of this patient?", f"answer {n}", patient=names[n % 4]) for n in range(80)]
    recipe = b"data: {deidentify: {}, split_group: patient}"
    checked = check(b"\n".join(json.dumps(row).encode() for row in more), recipe=recipe, names=ListedNames)
    assert checked.errors == []
    splits = [{json.loads(line)["item"]["patient"] for line in lines(split)} for split in (checked.train, checked.eval)]
    assert splits[0].isdisjoint(splits[1])
    assert splits[0] | splits[1] == {"[VALUE_1]", "[VALUE_2]", "[VALUE_3]", "[VALUE_4]"}


def test_what_was_redacted_before_stays_and_its_numbers_are_not_given_again(check: Check, rows: Rows) -> None:
    row = dialogue("[PERSON_2] met Maria Keller.", "[PERSON_2] did. [EMAIL_1] is Maria's.")
    once = check(rows(60, row), recipe=b"data: {deidentify: {}}", names=ListedNames)
    [line] = [line for line in (once.train + once.eval).splitlines() if b"PERSON" in line]
    assert b"[PERSON_2] met [PERSON_3]." in line
    assert b"[EMAIL_1] is [PERSON_3]'s." in line
    finder = ListedNames(persons=("PERSON_2", "[PERSON_3]", "Maria"))
    again = check(once.train + once.eval, recipe=b"data: {deidentify: {}}", names=lambda: finder)
    assert line in (again.train + again.eval).splitlines()


def test_a_name_within_an_e_mail_address_is_left_to_the_detector_of_addresses(check: Check, rows: Rows) -> None:
    row = dialogue("Write to Maria.Keller@example.com please.", "Done, see https://example.com/Keller now.")
    checked = check(rows(60, row), recipe=b"data: {deidentify: {}, personal_data: redact}", names=ListedNames)
    assert b"Write to [EMAIL_1] please." in checked.train + checked.eval


NUMBERED = {
    "parts of one name": (["Maria Keller", "Keller", "Maria", "KELLER"], [1, 1, 1, 1]),
    "the whole after a part": (["Keller", "Maria Keller", "Maria"], [1, 1, 1]),
    "another order": (["Keller, Maria", "Maria Keller"], [1, 1]),
    "two of one family name": (["Maria Keller", "Omar Keller", "Keller", "Omar"], [1, 2, 3, 2]),
    "others": (["Maria Keller", "Omar Diaz", "Maria Keller"], [1, 2, 1]),
}


@pytest.mark.parametrize("case", NUMBERED)
def test_a_part_of_a_name_is_the_person_who_alone_has_it(case: str) -> None:
    values, expected = NUMBERED[case]
    numbers = Numbers()
    assert [numbers.placeholder("person", value) for value in values] == [f"[PERSON_{n}]" for n in expected]


def test_places_and_addresses_are_equal_or_not() -> None:
    numbers = Numbers()
    values = ["York", "New York", "new york", "York"]
    assert [numbers.placeholder("place", value)[-2] for value in values] == ["1", "2", "2", "1"]


@dataclass
class FoundWhere:
    """Finds what stands between angle brackets."""

    def find(self, rows: list[list[str]]) -> list[list[list[Found]]]:
        return [
            [[Found("person", *match.span()) for match in re.finditer("<[^<>]+>", text)] for text in texts]
            for texts in rows
        ]


PARTS = st.lists(st.sampled_from(["<anna>", "<bo li>", " ", "[PERSON_9]", "a@b.de ", "é\n", "x", "12"]), max_size=9)


@given(st.lists(st.tuples(PARTS, PARTS), min_size=1, max_size=ROWS_AT_A_TIME + 2))
def test_all_but_the_names_stays_and_rows_keep_their_order(dialogues: list[tuple[list[str], list[str]]]) -> None:
    documents = [
        {"messages": dialogue("".join(one), "".join(other))["messages"], "item": {}} for one, other in dialogues
    ]
    read = [ReadRow(Place("train", n), row_of(document), True) for n, document in enumerate(documents, start=1)]
    given_on = list(Deidentifier(FoundWhere(), Deidentify(), (), Findings(CONTENT_CODES)).rows(read))
    assert [one.place for one in given_on] == [one.place for one in read]
    for before, after in zip(read, given_on, strict=True):
        for old, new in zip(before.row.messages, after.row.messages, strict=True):
            pattern = re.sub("<[^<>]+>", lambda _: "\0", old["content"])
            kept = re.split("\0", pattern) if "@" not in pattern else None
            if kept is not None:
                assert re.fullmatch(r"\[PERSON_\d+\]".join(map(re.escape, kept)), new["content"])
