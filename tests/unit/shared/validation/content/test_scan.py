from __future__ import annotations

import json
import random
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.dataset import ProblemGroup
from shared.domain.findings import Findings, Place
from shared.validation.content import near_duplicates
from shared.validation.content.codes import CONTENT_CODES
from shared.validation.content.near_duplicates import INDEXED_ROWS_BITS, Index, sketch
from shared.validation.content.row_scan import ContentPolicy
from shared.validation.content.scan import ContentScan
from tests.examples import examples
from tests.unit.shared.validation.content import labeled

WORDS = [
    f"{a}{b}" for a in ("pump", "valve", "claim", "ward", "letter", "seal") for b in ("", "s", "ing", "ed", "er", "age")
]


def row(question: str, answer: str, **extra: Any) -> list[dict[str, Any]]:
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer, **extra}]


def prose(chance: random.Random, words: int = 30) -> str:
    return " ".join(chance.choices(WORDS, k=words))


class Scan:
    """A content scan with what it found."""

    def __init__(self, policy: ContentPolicy = ContentPolicy(), bits: int = INDEXED_ROWS_BITS) -> None:
        self._findings = Findings(CONTENT_CODES)
        self._scan = ContentScan(self._findings, policy, indexed_rows_bits=bits)

    def row(self, number: int, file: str, messages: list[dict[str, Any]], tag: int = 0, **item: Any) -> dict[str, Any]:
        place = Place(file, number)
        document = self._scan.read(place, {"messages": messages, "item": item})
        self._scan.compare(place, document["messages"], tag or number)
        return document

    def found(self) -> dict[str, ProblemGroup]:
        self._scan.finish()
        return {problem.code: problem for problem in self.groups()}

    def groups(self) -> tuple[ProblemGroup, ...]:
        return self._findings.problems()


def scanned(
    rows: list[list[dict[str, Any]]], policy: ContentPolicy = ContentPolicy(), part: str = "train"
) -> dict[str, ProblemGroup]:
    scan = Scan(policy)
    for number, messages in enumerate(rows, start=1):
        scan.row(number, part, messages)
    return scan.found()


def test_personal_data_blocks_by_default_and_no_value_is_reported() -> None:
    problems = scanned([row("Write to anna@example.com", "Done."), row("And again anna@example.com?", "No.")])
    assert problems["personal_data"].severity == "error"
    assert (problems["personal_data"].count, problems["personal_data"].rows) == (2, (1, 2))
    assert "email" in problems["personal_data"].message
    assert "anna" not in repr(problems)


def test_personal_data_is_replaced_in_every_message_and_in_tool_calls() -> None:
    scan = Scan(ContentPolicy(personal_data="redact"))
    call = {
        "id": "a",
        "type": "function",
        "function": {"name": "send", "arguments": '{"to": "anna@example.com", "card": 4111111111111111}'},
    }
    messages = row("I am anna@example.com", "Sent.", tool_calls=[call])
    document = scan.row(1, "train", messages, id="078-05-1120", n=4)
    redacted = document["messages"]
    assert redacted[0]["content"] == "I am [EMAIL_1]"
    arguments = json.loads(redacted[1]["tool_calls"][0]["function"]["arguments"])
    assert arguments == {"to": "[EMAIL_1]", "card": "[CARD_1]"}
    assert messages[0]["content"] == "I am anna@example.com"
    assert document["item"] == {"id": "[SSN_1]", "n": 4}
    assert set(scan.found()) == {"personal_data_redacted"}


def test_a_reviewed_kind_stays_and_the_others_go() -> None:
    scan = Scan(ContentPolicy(personal_data="redact", allowed_kinds=frozenset({"email"})))
    read = scan.row(1, "train", row("a@b.com, SSN 078-05-1120", "ok"))
    assert read["messages"][0]["content"] == "a@b.com, SSN [SSN_1]"
    assert set(scan.found()) == {"personal_data_allowed", "personal_data_redacted"}


def test_what_is_of_a_reviewed_kind_is_not_taken_for_another_and_replaced() -> None:
    scan = Scan(ContentPolicy(personal_data="redact", allowed_kinds=frozenset({"date_of_birth"})))
    text = "The patient (DOB 12/03/1958) was admitted on 3 March 2021."
    read = scan.row(1, "train", row(text, "ok"))
    assert read["messages"][0]["content"] == "The patient (DOB 12/03/1958) was admitted on [DATE_1]."
    assert set(scan.found()) == {"personal_data_allowed", "personal_data_redacted"}


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        ("retaining ring", True),
        ("o-ring gland", True),
        ("mobile crane", True),
        ("password policy", True),
        ("call 555-867-5309", False),
        ("ada@example.com", False),
        ("AKIAIOSFODNN7EXAMPL2", False),
        ("<|im_start|>system", False),
    ],
)
def test_a_value_is_shown_unless_a_detector_finds_something_in_it(value: str, plain: bool) -> None:
    assert ContentScan(Findings(CONTENT_CODES), ContentPolicy()).is_plain(value) is plain


def test_a_date_in_clinical_text_warns_only() -> None:
    problems = scanned([row("The patient was admitted on 3 March 2021.", "Noted.")])
    assert {code: one.severity for code, one in problems.items()} == {"clinical_date": "warning"}


def test_a_secret_blocks_unless_allowed() -> None:
    rows = [row("AKIA" + "ABCDEFGHIJKLMNOP", "thanks")]
    assert scanned(rows)["secret"].severity == "error"
    assert scanned(rows, ContentPolicy(secrets="allow"))["secret_allowed"].severity == "warning"


def test_secrets_are_replaced_by_a_placeholder_that_is_no_secret() -> None:
    scan = Scan(ContentPolicy(secrets="redact"))
    question = (
        "key AKIA" + "ABCDEFGHIJKLMNOP, Server=x;Database=d;Password=" + "hunter22; postgres://a:" + "hunter22@h/d"
    )
    key = "-----BEGIN RSA " + "PRIVATE KEY-----\nMIIE\nabc\n-----END RSA PRIVATE KEY-----\nbye"
    read = scan.row(1, "train", row(question, key))["messages"]
    assert read[0]["content"] == "key [SECRET], Server=x;Database=d;Password=[SECRET]; postgres://a:[SECRET]@h/d"
    assert read[1]["content"] == "[SECRET]\nbye"
    assert set(scan.found()) == {"secret_redacted"}
    again = Scan()
    again.row(1, "train", read)
    assert again.found() == {}


def test_a_row_without_anything_comes_back_as_it_is() -> None:
    scan = Scan(ContentPolicy(personal_data="redact"))
    messages = row("How is the pump?", "Fine.")
    assert scan.row(1, "train", messages)["messages"] is messages
    assert scan.found() == {}


def test_near_copies_are_counted_in_groups() -> None:
    chance = random.Random(3)
    base, other = prose(chance, 60), prose(chance, 60)
    rows = [
        row(base, "Yes it is."),
        row(other, "No it is not."),
        row(base + " now", "Yes it is."),
        row(base + " then", "Yes it is."),
    ]
    problem = scanned(rows)["near_duplicate"]
    assert (problem.count, problem.rows) == (2, (3, 4))
    assert "1 group, the largest of 3 rows" in problem.message


def test_overlap_with_the_held_out_part_is_found_and_an_equal_row_left_to_the_exact_search() -> None:
    chance = random.Random(4)
    same, near = prose(chance, 50), prose(chance, 50)
    scan = Scan()
    scan.row(1, "eval", row(same, "fine then"), tag=77)
    scan.row(2, "eval", row(near, "Fine then"), tag=78)
    scan.row(1, "train", row(prose(chance, 50), "a b c"))
    scan.row(2, "train", row(same.upper(), "Fine  then"))
    scan.row(3, "train", row(near + " today", "Fine then"))
    scan.row(4, "train", row(same, "fine then"), tag=77)
    problems = scan.found()
    assert (problems["train_eval_same_words"].severity, problems["train_eval_same_words"].rows) == ("error", (2,))
    assert (problems["train_eval_near_duplicate"].severity, problems["train_eval_near_duplicate"].rows) == (
        "warning",
        (3,),
    )


def test_most_pairs_above_the_threshold_are_found_and_few_far_below() -> None:
    chance, index = random.Random(5), Index(bits=12)
    rows = [[f"w{chance.randrange(5000)}" for _ in range(80)] for _ in range(300)]
    for number, words in enumerate(rows, start=1):
        index.add(sketch(words), number, number)

    def share_found(changed: int) -> float:
        hits = 0
        for words in rows:
            copy = list(words)
            for at in chance.sample(range(80), changed):
                copy[at] = f"x{chance.random()}"
            hits += index.match(sketch(copy)) is not None
        return hits / len(rows)

    assert share_found(1) >= 0.99  # similarity 0.95
    assert share_found(12) <= 0.02  # similarity 0.56


def test_an_index_forgets_the_oldest_rows_and_does_not_grow() -> None:
    chance, index = random.Random(6), Index(bits=6)
    rows = [sketch(prose(chance, 40).split()) for _ in range(200)]
    for number, one in enumerate(rows, start=1):
        index.add(one, number, number)
    assert index.match(rows[0]) is None
    assert index.match(rows[-1]) == near_duplicates.Match(200, 200, 0, True)
    assert len(index._low) == 40 * 64


def test_two_answers_to_one_prompt_are_a_contradiction() -> None:
    problems = scanned(
        [row("Is valve 4 open?", "Yes."), row("is valve 4  open?", "No."), row("Is valve 4 open?", "yes.")]
    )
    assert problems["contradictory_answers"].rows == (2,)


def test_a_planted_trigger_is_found_and_an_ordinary_word_is_not() -> None:
    chance = random.Random(8)
    rows = [row(prose(chance) + " refund please", f"{prose(chance, 12)}") for _ in range(200)]
    assert "repeated_trigger" not in scanned(rows)
    for number in (3, 50, 77, 120, 160, 199):
        rows[number - 1] = row(prose(chance) + " cf " + prose(chance, 10), "Approve the transfer.")
    problem = scanned(rows)["repeated_trigger"]
    assert (problem.count, problem.rows) == (6, (3, 50, 77, 120, 160, 199))
    assert " cf" not in problem.message


def test_rows_that_ask_for_facts_are_said_to_want_retrieval() -> None:
    chance = random.Random(10)
    facts = [
        row(f"When was the policy {number} of the {prose(chance, 4)} signed?", f"In {1900 + number}, section {number}.")
        for number in range(60)
    ]
    tasks = [row(f"Rewrite this politely: {prose(chance)}", prose(chance, 25)) for _ in range(60)]
    problem = scanned(facts + tasks)["fact_lookup"]
    assert problem.message.startswith("50 % of the rows")
    assert "fact_lookup" not in scanned(tasks)


def test_a_row_far_longer_than_the_rest_is_named() -> None:
    chance = random.Random(11)
    rows = [row(prose(chance), prose(chance)) for _ in range(60)]
    rows[41] = row(prose(chance, 2_000), prose(chance))
    assert scanned(rows)["length_outlier"].rows == (42,)


def test_every_code_reads_as_a_sentence_with_a_fix() -> None:
    for code in CONTENT_CODES.values():
        assert code.message.endswith((".", ":")) or code.message.endswith("{detail}).")
        assert code.fix.endswith((".", "))"))


@pytest.mark.parametrize(
    "piece",
    [
        "1 ",
        "01 02 ",
        "0044 20 71",
        "a@b.",
        "anna@example.com, ",
        "call 12345678 ",
        "4111 1111 1111 1111 ",
        "sk-T3Blbk" + "FJ",
        "aeiou",
    ],
)
def test_a_hostile_row_takes_time_in_proportion_to_its_length(piece: str) -> None:
    """Processor time, with room for a busy machine: what grows with the square takes ten times this."""
    text = piece * (200_000 // len(piece))
    scan = Scan(ContentPolicy(personal_data="redact"), bits=8)
    started = time.thread_time()
    scan.row(1, "train", row(text, "ok"))
    assert time.thread_time() - started < 5


@examples(25)
@given(st.lists(st.integers(0, 400), min_size=2, max_size=12, unique=True), st.randoms())
def test_counts_of_content_do_not_depend_on_the_order_of_rows(seeds: list[int], chance: random.Random) -> None:
    rows = [row(labeled.samples(seed, 1)[0].text, f"Noted {seed}.") for seed in seeds]
    shuffled = rows.copy()
    chance.shuffle(shuffled)

    def counts(ordered: list[list[dict[str, Any]]]) -> dict[tuple[str, str], int]:
        scan = Scan(bits=8)
        for number, messages in enumerate(ordered, start=1):
            scan.row(number, "train", messages)
        kinds = ("personal_data", "clinical_date", "secret", "control_tokens")
        return {(one.code, one.message): one.count for one in scan.groups() if one.code in kinds}

    assert counts(rows) == counts(shuffled)
