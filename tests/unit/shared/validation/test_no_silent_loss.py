"""Random rows of all formats with random fields beside them: what is learned, kept and reported is the whole row."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from shared.domain.findings import Findings
from shared.validation.codes import CODES
from shared.validation.conversions import ANSWERED, ASKED, OUTPUTS
from shared.validation.fields import SPECIAL, FieldNotes, UsedFields
from shared.validation.formats import KNOWN_NAMES, detect
from shared.validation.marks import MARKS
from shared.validation.rows import read_row

# Each text of a row is a token of its own, so that it is known wherever it went.
TOKEN = re.compile(r"t\d+z")


@st.composite
def tokens(draw: Any) -> str:
    return f"t{draw(st.integers(1, 10**9))}z"


TEXT = tokens()
MAYBE = st.none() | st.just("") | TEXT
VALUE = st.recursive(
    TEXT | st.booleans() | st.integers(-3, 9) | st.none() | st.just(""),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXT, inner, max_size=2),
    max_leaves=4,
)
MESSAGE_KEYS = st.dictionaries(
    st.sampled_from(
        ["name", "weight", "train", "trainable", "loss_weight", "thinking", "images", "mood", "refusal", "reasoning"]
    ),
    VALUE,
    max_size=1,
)


def said(role: str, more: dict[str, Any], text: str) -> dict[str, Any]:
    return {**more, "role": role, "content": text}


QUESTION = st.builds(said, st.sampled_from(["user", "user", "system"]), MESSAGE_KEYS, TEXT)
ANSWER = st.builds(said, st.just("assistant"), MESSAGE_KEYS, TEXT)
DIALOGUE = st.builds(lambda asked, answer: [*asked, answer], st.lists(QUESTION, min_size=1, max_size=2), ANSWER)
TURNS = st.builds(
    lambda asked, answer: [{"from": "human", "value": asked}, {"from": "gpt", "value": answer}], TEXT, TEXT
)


def of(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(fields)


ROWS = st.one_of(
    of(messages=DIALOGUE),
    of(messages=st.lists(QUESTION, min_size=1, max_size=3), target=TEXT),
    of(conversations=TURNS),
    of(text=TEXT),
    of(
        input=of(messages=st.builds(lambda text: [said("user", {}, text)], TEXT)),
        preferred_output=st.builds(lambda text: [said("assistant", {}, text)], TEXT),
        non_preferred_output=st.builds(lambda text: [said("assistant", {}, text)], TEXT),
    ),
    *(of(**{asked: TEXT | DIALOGUE, answered: TEXT}) for asked in ASKED for answered in ANSWERED),
    *(of(**{ASKED[0]: TEXT, better: TEXT, worse: TEXT}) for better, worse in OUTPUTS),
)
BESIDE = st.dictionaries(
    st.sampled_from(
        [
            *sorted({*KNOWN_NAMES, *SPECIAL, *MARKS} - {"messages", "conversations"}),
            *("note", "id", "functions", "category", "item", "documents", "parallel_tool_calls"),
        ]
    ),
    VALUE | MAYBE,
    max_size=3,
)
USED = st.frozensets(
    st.sampled_from(["note", "context", "system", "label", "score", "prompt", "documents"]), max_size=2
)


def texts(value: Any) -> Iterator[str]:
    return iter(TOKEN.findall(json.dumps(value)))


@settings(max_examples=500, deadline=None)
@given(ROWS, BESIDE, USED, st.booleans())
def test_what_is_learned_kept_and_reported_is_the_row(row, beside, used, prompts) -> None:
    row = {**beside, **row}
    form = detect([row], prompts=prompts)
    assert form is not None
    read, codes = read_row(json.dumps(row).encode(), form, used)
    assert all(code.partition("|")[0] in CODES for code in codes)
    if read is None:
        assert codes  # refused, with a reason
        return
    document = json.loads(read.canonical)
    left_out = {code.split("|")[1] for code in codes if code.startswith("message_unrecognized_key|")}
    reported = [message for message in _messages(row) for key in message if key in left_out]
    lost = set(texts(row)) - set(texts(document))
    assert not lost or reported, (row, document)
    assert lost <= {
        token for message in _messages(row) for key in message if key in left_out for token in texts(message[key])
    }
    findings = Findings(CODES)
    notes = FieldNotes(UsedFields(used))
    notes.add(1, read.item, read.messages, has_answer=form.kind == "chat")
    notes.report(findings, "train")
    named = " ".join(problem.message for problem in findings.problems())
    for name, value in read.item.items():
        empty = value in (None, "", [], {})
        assert empty or name in used or f"field {name}" in named or not _shown(name), (name, named)


def _messages(row: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for value in row.values():
        turns = value.get("messages", []) if isinstance(value, dict) else value
        if isinstance(turns, list):
            yield from (turn for turn in turns if isinstance(turn, dict))


def _shown(name: str) -> bool:
    return not TOKEN.search(name)
