"""Numbers that documents give in prose are those of the code."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest

from shared.domain.evaluation import MAX_SLICES
from shared.domain.planning.methods import MIN_SERVED_TOKENS
from shared.domain.recipe import Data, Gate
from shared.records.outbox import INBOX_TTL_S, SENT_TTL_S
from shared.steps.advance_rollout import MIN_AS_EVALUATED, UNREACHABLE_ALLOWANCE, UNREACHABLE_WITH_TRAFFIC_ALLOWANCE
from shared.steps.probe_deployments import QUESTIONS
from shared.steps.reconcile import OWNERLESS_CLAIM_AGE
from shared.steps.roll_back import ALLOWANCE
from shared.validation.codes import FEW_ROWS, MAX_DECOMPRESSED_BYTES, MAX_RATIO, MAX_ROW_BYTES, MIN_ROWS
from shared.validation.split import MAX_GROWN_SHARE
from tests.paths import ROOT

WORDS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
DAY_S = timedelta(days=1).total_seconds()
GATE, DATA = Gate(), Data()
SUITE = ROOT / "training_job/evaluation/general_suite.jsonl"
LEAST_ROWS = GATE.min_rows / MAX_GROWN_SHARE
NUMBERS = (
    ("README.md", r"the gate needs (\w+) held-out rows", GATE.min_rows),
    ("README.md", r"a (tenth) of the rows is held out", round(1 / DATA.validation_split)),
    ("README.md", r"and up to (\d+) % where the gate", MAX_GROWN_SHARE * 100),
    ("README.md", r"bring (\d+) rows, or an", LEAST_ROWS),
    ("docs/tutorial/your-first-model.md", r"better on at least (\d+) rows", GATE.min_rows),
    ("docs/tutorial/your-first-model.md", r"so (\d+) rows are the least", LEAST_ROWS),
    ("docs/explanation/validation.md", r"that is so below (\d+) rows", LEAST_ROWS),
    ("docs/explanation/architecture.md", r"asks (\w+) held-out questions", QUESTIONS),
    ("docs/explanation/architecture.md", r"means that (\w+) of five answers", MIN_AS_EVALUATED * QUESTIONS),
    ("docs/explanation/architecture.md", r"came with a transition, for (\d+) days", SENT_TTL_S / DAY_S),
    ("docs/how-to/when-a-run-fails.md", r"fewer than (\w+) of five answers", MIN_AS_EVALUATED * QUESTIONS),
    ("docs/how-to/when-a-run-fails.md", r"answered for (\w+) minutes", UNREACHABLE_ALLOWANCE.total_seconds() / 60),
    ("docs/how-to/when-a-run-fails.md", r"or for (\w+) seconds", UNREACHABLE_WITH_TRAFFIC_ALLOWANCE.total_seconds()),
    ("docs/how-to/ask-the-model.md", r"([\d,]+) tokens of prompt and answer", MIN_SERVED_TOKENS),
    ("docs/how-to/data-retention.md", r"events of a run \| Cosmos DB \| (\d+) days", SENT_TTL_S / DAY_S),
    ("docs/how-to/data-retention.md", r"marks of handled events \| Cosmos DB \| (\d+) days", INBOX_TTL_S / DAY_S),
    ("shared/validation/codes.toml", r"at least (\d+) rows", MIN_ROWS),
    ("shared/validation/codes.toml", r"fewer than (\d+) teach", MIN_ROWS),
    ("shared/validation/codes.toml", r"rows, fewer than (\d+)\.", FEW_ROWS),
    ("shared/validation/codes.toml", r"more than (\d+) times its size", MAX_RATIO),
    ("shared/validation/codes.toml", r"beyond (\d+) GiB", MAX_DECOMPRESSED_BYTES / 2**30),
    ("shared/validation/codes.toml", r"longer than (\d+) MiB", MAX_ROW_BYTES / 2**20),
    ("shared/validation/codes.toml", r"more than (\d+) slices", MAX_SLICES),
    ("docs/glossary.md", r"\| (\d+) questions that show", SUITE.read_bytes().count(b"\n")),
    (
        "docs/decisions/0006-a-requested-rollback-holds-the-endpoint.md",
        r"claim is removed (\d+) minutes later",
        OWNERLESS_CLAIM_AGE.total_seconds() / 60,
    ),
    (
        "docs/decisions/0006-a-requested-rollback-holds-the-endpoint.md",
        r"not seen within (\d+) hours",
        ALLOWANCE.total_seconds() / 3600,
    ),
)


@pytest.mark.parametrize(("document", "sentence", "number"), NUMBERS, ids=[row[1] for row in NUMBERS])
def test_a_number_in_a_document_is_that_of_the_code(document: str, sentence: str, number: float) -> None:
    text = " ".join((ROOT / document).read_text(encoding="utf-8").split())
    [found] = re.findall(sentence, text)
    word = found.lower().replace(",", "").replace("tenth", "ten")
    assert (WORDS.index(word) if word in WORDS else float(word)) == pytest.approx(number)
