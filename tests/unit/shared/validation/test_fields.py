"""Every field of a row is learned, used by the recipe, refused, or named as ignored."""

from __future__ import annotations

import json
from typing import Any

import pytest

from shared.domain.findings import Findings
from shared.domain.recipe import Recipe
from shared.validation.codes import CODES, CONTENT_CODES
from shared.validation.fields import FieldNotes, UsedFields, used_fields
from shared.validation.names import NAMES_MAX

GRADER = "{name: g, type: string_check, reference: '{{item.%s}}'}"
PYTHON = "{name: g, type: python, source: '%s'}"


def answered(**fields: Any) -> dict[str, Any]:
    """A row with fields beside its answer's content."""
    return {"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y", **fields}]}


def lines(count: int = 60, **fields: Any) -> bytes:
    """Rows whose fields are values, or made from the row's number. `messages` is there unless a pair is."""
    made = []
    for number in range(count):
        row = {name: value(number) if callable(value) else value for name, value in fields.items()}
        if not {"prompt", "question", "instruction", "conversations", "text"} & row.keys():
            row.setdefault("messages", dialogue_of(number))
        made.append(json.dumps(row).encode())
    return b"\n".join(made)


def dialogue_of(number: int) -> list[dict[str, Any]]:
    return [
        {"role": "user", "content": f"What is part {number}?"},
        {"role": "assistant", "content": f"part {number} of machine {number % 7}"},
    ]


def held_out() -> bytes:
    return b"\n".join(json.dumps({"messages": dialogue_of(n)}).encode() for n in range(1000, 1030))


def graded(text: str) -> bytes:
    return f"evaluation: {{graders: [{text}]}}".encode()


def problems(checked) -> list[tuple[str, str, int]]:
    """Of the rows' form; what they say is another matter."""
    return [
        (one.code, one.message, one.count)
        for one in checked.result.report.problems
        if one.file == "train" and one.code not in CONTENT_CODES
    ]


IGNORED = {
    "a class": {"label": "urgent"},
    "a class number": {"label": lambda n: n % 3},
    "a class of two that repeats the answer": {
        "label": lambda n: n % 2,
        "messages": lambda n: [dialogue_of(n)[0], {"role": "assistant", "content": ("no", "yes")[n % 2]}],
    },
    "a number of the row": {"id": lambda n: n},
    "a note beside a pair": {"note": "x", "prompt": lambda n: f"part {n}?", "completion": lambda n: f"bolt {n}"},
    "a category beside Alpaca's fields": {
        "category": "closed_qa",
        "instruction": lambda n: f"part {n}?",
        "output": lambda n: f"bolt {n}",
    },
    "one word of context": {"context": "billing"},
    "a passage that a message holds": {"context": lambda n: f"What is part {n}?"},
    "a score of one": {"score": 1},
    "the weight of a part": {"weight": 12.5},
    "a train that is no mark": {"train": "ICE 5"},
}


@pytest.mark.few_cases(3)
@pytest.mark.parametrize("fields", IGNORED.values(), ids=IGNORED)
def test_a_field_that_nothing_reads_is_one_warning_with_its_name_and_its_rows(check, fields) -> None:
    name = next(iter(fields))
    checked = check(lines(**fields), held_out())
    assert checked.errors == []
    found = [one for one in problems(checked) if one[0] == "ignored_field"]
    assert [(name in message, count) for _, message, count in found] == [(True, 60)]
    assert f'"{name}"'.encode() in checked.train.splitlines()[0]  # kept for graders of a later recipe


def test_an_empty_field_loses_nothing_and_is_not_reported(check) -> None:
    checked = check(lines(note="", tags=[], more=None, images=[], documents=None, system=""), held_out())
    assert problems(checked) == []


@pytest.mark.few_cases(3)
@pytest.mark.parametrize(
    "recipe",
    [
        b"evaluation: {slices: [score]}",
        b"data: {split_group: score}",
        graded(GRADER % "score"),
        graded(PYTHON % 'def grade(sample, item): return item["score"]'),
        graded(PYTHON % 'def grade(sample, item): return item.get("score", 0)'),
        graded(PYTHON % 'def grade(sample, row): return row.get("score", 0)'),
    ],
)
@pytest.mark.parametrize("value", [-1, 5, True, "thumbs_down"])
def test_a_field_that_the_recipe_uses_is_kept_without_a_word(check, recipe, value) -> None:
    data = lines(score=value)
    evaluation = b"\n".join(
        json.dumps({"messages": dialogue_of(n), "score": value}).encode() for n in range(1000, 1030)
    )
    checked = check(data, evaluation, recipe)
    grouped = ["group_in_both_splits"] if b"split_group" in recipe else []  # the rows of both files are of one group
    assert ([code for code, _, _ in problems(checked)], checked.errors) == (grouped, grouped)


def test_a_grader_that_may_read_any_field_leaves_none_to_be_ignored_but_marks_count(check) -> None:
    recipe = graded(PYTHON % "def grade(sample, item): return float(len(item))")
    assert problems(check(lines(note="x"), held_out(), recipe)) == []
    assert check(lines(label=False), held_out(), recipe).errors == ["unpaired_preference"]


def test_what_is_learned_stays_there_for_a_grader_that_reads_it_by_its_name(check) -> None:
    data = lines(300, question=lambda n: f"What is part {n}?", context="Bolts.", answer=lambda n: f"part {n}")
    checked = check(data, None, graded(GRADER % "context"))
    assert checked.errors == []
    row = json.loads(checked.train.splitlines()[0])
    assert row["messages"][0]["content"].endswith("?\nBolts.")
    assert row["item"] == {"context": "Bolts."}


NOT_READ = {
    "an image": ({"images": ["a.png"]}, "media_not_read"),
    "one image with its bytes": ({"image": {"bytes": "iVBO", "path": "a.png"}}, "media_not_read"),
    "an image as a link of data": ({"image": "data:image/png;base64,iVBO"}, "media_not_read"),
    "images in another spelling": ({"Images": ["a.png"]}, "media_not_read"),
    "an image with its place in the text": (
        {"image": "a.png", "messages": [{"role": "user", "content": "<image>\nWhat is it?"}, dialogue_of(1)[1]]},
        "media_not_read",
    ),
    "sound": ({"audios": ["a.wav"]}, "media_not_read"),
    "a row of weight 0": ({"weight": 0}, "excluded_rows"),
    "a row that is not to be trained on": ({"train": False}, "excluded_rows"),
    "documents": ({"documents": [{"title": "Oil", "text": "Pump 3 holds oil."}]}, "passage_not_read"),
    "context": ({"context": "Pump 3 holds oil."}, "passage_not_read"),
    "Context": ({"Context": "Pump 3 holds oil."}, "passage_not_read"),
    "a passage without a full stop": (
        {"context": "the press in hall 3 runs at 5 bar since Monday"},
        "passage_not_read",
    ),
    "a Chinese passage": ({"context": "三号车间的液压机从星期一开始以五巴的压力运行"}, "passage_not_read"),
    "a short text with the answer": ({"context": "Part 5000 of Machine 2, hall 3"}, "passage_not_read"),
    "a document's page": ({"documents": [{"page_content": "oil, 5 bar, hall 3"}]}, "passage_not_read"),
    "two system texts": ({"system": "Be brief.", "system_prompt": "Be long."}, "system_twice"),
    "a system text as a list": ({"system": ["x"]}, "data_type"),
    "tools and functions": ({"tools": [{"name": "f"}], "functions": [{"name": "f"}]}, "tools_twice"),
    "a reason beside an answer": (
        answered(thinking="hm"),
        "reasoning_not_read",
    ),
    "reasoning content": (
        {
            "messages": [
                {"role": "user", "content": "x"},
                {"role": "assistant", "content": "y", "reasoning_content": "h"},
            ]
        },
        "reasoning_not_read",
    ),
    "images in a message": (
        {"messages": [{"role": "user", "content": "x", "images": ["a"]}, {"role": "assistant", "content": "y"}]},
        "media_not_read",
    ),
    "a weight of a half": (
        answered(loss_weight=0.5),
        "invalid_weight",
    ),
    "two weights": (
        {
            "messages": [
                {"role": "user", "content": "x"},
                {"role": "assistant", "content": "y", "weight": 1, "train": False},
            ]
        },
        "invalid_weight",
    ),
    "a question to learn": (
        {"messages": [{"role": "user", "content": "x", "train": True}, {"role": "assistant", "content": "y"}]},
        "weight_of_other_role",
    ),
}


THOUGHTS = [
    *("reasoning_content", "reasoning", "reasoning_details", "Reasoning", "reasoningContent", "thinking", "thoughts"),
    *("thought", "Complex_CoT", "complex_cot", "cot", "chain_of_thought", "tool_plan", "thinking_blocks"),
]


def thinking(name: str, value: Any) -> list[bytes]:
    """Rows with the field in the answer, beside messages and beside a pair."""
    pair = {"prompt": lambda n: f"What is part {n}?", "completion": lambda n: f"part {n} of machine {n % 7}"}
    message = {"messages": lambda n: [dialogue_of(n)[0], {**dialogue_of(n)[1], name: value}]}
    two = {"prompt": pair["prompt"], "chosen": pair["completion"], "rejected": "I do not know.", name: value}
    return [lines(**fields) for fields in (message, {name: value}, {name: value, **pair}, two)]


def found_in(rows: list[bytes], check: Any) -> list[list[str]]:
    *chats, pairs = [check(data, held_out()) for data in rows[:-1]] + [check(rows[-1], None, b"method: {type: dpo}")]
    return [one.errors for one in (*chats, pairs)]


@pytest.mark.few_cases(3)
@pytest.mark.parametrize("value", ["First I look.", ["First", "then"], [{"type": "summary", "text": "First"}]])
@pytest.mark.parametrize("name", THOUGHTS)
def test_reasoning_is_refused_in_a_message_and_beside_messages_and_pairs(check, name, value) -> None:
    assert found_in(thinking(name, value), check) == [["reasoning_not_read"]] * 4


@pytest.mark.parametrize("name", ["chosen_reasoning", "rejected_thinking", "reasoningRejected", "preferred_cot"])
def test_reasoning_of_one_answer_of_a_pair_is_refused_by_its_name(check, name) -> None:
    assert found_in(thinking(name, "First I look.")[-1:], check) == [["reasoning_not_read"]]


REWARDED = b"""method:
  type: reinforcement
  graders: [{name: a, type: string_check, reference: "{{item.answer}}", operation: like}]
"""


@pytest.mark.parametrize(
    "fields", [{"prompt": lambda n: f"Part {n}?", "answer": "x"}, {"text": lambda n: f"Part {n}."}]
)
def test_reasoning_beside_what_is_no_answer_is_named_as_ignored(check, fields) -> None:
    others = (held_out(), None) if "text" in fields else (None, REWARDED)
    checked = check(lines(**fields, reasoning="First I look."), *others)
    assert (checked.errors, "ignored_field" in checked.codes) == ([], True)


def test_reasoning_that_the_answer_has_too_is_named_as_ignored(check) -> None:
    answers = lines(prompt=lambda n: f"{n}?", completion=lambda n: f"<think>I look.</think>It is {n}.", cot="I look.")
    checked = check(answers, held_out())
    assert (checked.errors, "ignored_field" in checked.codes) == ([], True)


def test_a_key_that_marks_answers_as_bad_is_not_named_as_ignored_too(check) -> None:
    def rated(n: int) -> list[dict[str, Any]]:
        question, answer = dialogue_of(n)
        return [question, {**answer, "feedback": ("thumbs_up", "thumbs_down")[n % 2]}]

    assert list(check(lines(messages=rated), held_out()).codes) == ["unpaired_preference"]


@pytest.mark.few_cases(3)
@pytest.mark.parametrize("value", ["on", "Off", "high", " ", True, False, 1, [""], {"text": ""}])
@pytest.mark.parametrize("name", ["reasoning", "Complex_CoT", "thinking"])
def test_a_switch_of_reasoning_is_no_reasoning(check, name, value) -> None:
    assert found_in(thinking(name, value), check) == [[]] * 4


EARLIER = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}]
LONG = "In the stock list of hall 3 stands: {}. It was counted on Monday."
NEEDED = {
    **{name: EARLIER for name in ("previous_messages", "conversation_history", "history", "earlier", "chatLog")},
    "turns as JSON text": json.dumps(EARLIER),
    **{name: LONG for name in ("input", "article", "Article", "chunk", "knowledge", "notes", "source_text")},
    **{name: [LONG] for name in ("chunks", "passages", "snippets", "found")},
    "hits": [{"id": 3, "body": LONG}],
}
NOT_NEEDED = {
    "rendered": "User: What is part {n}?\nAssistant: {}. That is what was said in the end.",
    "reference": "{}",
    "draft": "Well, {}",
    "another part": "In the stock list of hall 3 stands another part than the one asked for here.",
    "said": [{"role": "user", "content": "What is part {n}?"}],
    "objects": [{"role": "fitter", "name": "Ann"}],
}


def beside(name: str, value: Any) -> bytes:
    def filled(number: int) -> Any:
        answer = dialogue_of(number)[1]["content"]
        return json.loads(json.dumps(value).replace("{n}", str(number)).replace("{}", answer))

    fields: dict[str, Any] = {name: filled}
    return lines(**fields)


@pytest.mark.few_cases(3)
@pytest.mark.parametrize(("name", "value"), NEEDED.items(), ids=NEEDED)
def test_earlier_turns_and_texts_with_the_answer_are_refused_under_any_name(check, name, value) -> None:
    assert check(beside(name, value), held_out()).errors == ["passage_not_read"]


@pytest.mark.parametrize(("name", "value"), NOT_NEEDED.items(), ids=NOT_NEEDED)
def test_the_answer_or_the_dialogue_once_more_is_no_passage(check, name, value) -> None:
    assert check(beside(name, value), held_out()).errors == []


def test_a_system_prompt_by_its_short_name_is_read(check) -> None:
    pair: dict[str, Any] = {
        "prompt": lambda n: f"What is part {n}?",
        "completion": lambda n: f"part {n} of machine {n % 7}",
    }
    checked = check(lines(sys_prompt="Be brief.", **pair), held_out())
    assert checked.errors == []
    assert json.loads(checked.train.splitlines()[0])["messages"][0] == {"role": "system", "content": "Be brief."}


ABOUT = {
    "a channel": {"context": "mobile app"},
    "a file": {"document": "Kreditvertrag 2023.pdf"},
    "files, different ones": {"documents": lambda n: [f"Wartung Presse {n}.pdf", "ISO 9001"]},
    "a title": {"document": lambda n: f"Manual of press {n}, second edition"},
    "properties": {"context": {"channel": "mobile app", "customer": "gold class", "region": "EU"}},
    "properties as JSON text": {
        "context": lambda n: f'{{"channel": "mobile app", "class": "gold {n} of our bank", "n": 1}}'
    },
    "a sentence that all rows share": {"context": "The customer wrote from the portal."},
    "one of three sentences": {"context": lambda n: f"The customer wrote on channel {n % 3} of the portal we have."},
    "configuration": {"options": {"temperature": 0.2}},
    "choices beside an answer in words": {"options": lambda n: {"A": f"bolt {n}", "B": f"nut {n}"}},
    "candidates of another matter": {"candidates": ["Bolt", "Nut"]},
}


@pytest.mark.parametrize("fields", ABOUT.values(), ids=ABOUT)
def test_what_a_row_is_about_is_no_passage(check, fields) -> None:
    checked = check(lines(**fields), held_out())
    assert checked.errors == []
    assert [(code, count) for code, _, count in problems(checked)] == [("ignored_field", 60)]


def test_a_long_text_is_a_passage_even_if_all_rows_share_it(check) -> None:
    checked = check(lines(context="The press in hall 3 runs at 5 bar since Monday. " * 4), held_out())
    assert checked.errors == ["passage_not_read"]


@pytest.mark.few_cases(3)
@pytest.mark.parametrize("value", [False, 0, [None], [""], "", "false", {"path": None}, [[]]])
@pytest.mark.parametrize("name", ["image", "images", "video", "audio"])
def test_no_picture_is_no_picture(check, name, value) -> None:
    checked = check(lines(**{name: value}), held_out())
    assert {code for code, _, _ in problems(checked)} <= {"ignored_field"}


@pytest.mark.few_cases(3)
@pytest.mark.parametrize("value", ["part.png", "https://example.org/part.png", True])
@pytest.mark.parametrize("name", ["image", "image_path", "Image", "video"])
def test_a_picture_that_no_text_refers_to_is_a_warning_that_says_how_to_decide(check, name, value) -> None:
    checked = check(lines(**{name: value}), held_out())
    assert checked.errors == []
    assert [(code, name in message, count) for code, message, count in problems(checked)] == [("media_named", True, 60)]


LETTERS: dict[str, dict[str, Any]] = {
    "an object": {"options": lambda n: {"A": f"bolt {n}", "B": f"nut {n}"}},
    "a list": {"choices": lambda n: [f"bolt {n}", f"nut {n}"]},
    "a cell of a table": {"options": lambda n: json.dumps([f"bolt {n}", f"nut {n}"])},
    "upper case": {"Options": lambda n: {"A": f"bolt {n}", "B": f"nut {n}"}},
}


@pytest.mark.few_cases(3)
@pytest.mark.parametrize("fields", LETTERS.values(), ids=LETTERS)
@pytest.mark.parametrize("in_question", [False, True])
def test_choices_that_an_answer_names_must_be_in_the_question(check, fields, in_question) -> None:
    def question(n: int) -> str:
        choices = f"A) bolt {n} B) nut {n}"
        return f"What holds part {n}?" + (f"\n{choices}" if in_question else "")

    data = lines(question=question, answer=lambda n: "AB"[n % 2], **fields)
    checked = check(data, held_out())
    assert set(checked.errors) == (set() if in_question else {"choices_not_read"})


@pytest.mark.few_cases(3)
@pytest.mark.parametrize(("fields", "code"), NOT_READ.values(), ids=NOT_READ)
def test_a_field_that_changes_what_is_learned_and_is_not_read_is_refused(check, rows, fields, code) -> None:
    row = {"messages": dialogue_of(5000), **fields}
    assert check(rows(60, row), rows(20, start=100)).codes == {code: (61,)}


@pytest.mark.parametrize("answer", ["A.", "(A)", "A)", "**A**", "a", "1", "0"])
def test_marks_around_the_letter_or_number_of_a_choice_change_nothing(check, answer) -> None:
    data = lines(question=lambda n: f"What holds part {n}?", answer=answer, **LETTERS["a list"])
    assert check(data, held_out()).errors == ["choices_not_read"]


SYSTEM_TEXT = "Answer in German only."


@pytest.mark.few_cases(3)
@pytest.mark.parametrize("name", ["system", "system_message", "system_prompt"])
@pytest.mark.parametrize(
    "row",
    [
        {"messages": dialogue_of(1)},
        {"messages": [{"role": "system", "content": SYSTEM_TEXT}, *dialogue_of(1)]},
        {"prompt": "What is part 1?", "completion": "part 1 of machine 1"},
        {"instruction": "What is part 1?", "output": "part 1 of machine 1"},
        {
            "conversations": [
                {"from": "human", "value": "What is part 1?"},
                {"from": "gpt", "value": dialogue_of(1)[1]["content"]},
            ]
        },
    ],
)
def test_a_system_text_beside_the_dialogue_is_its_system_message(check, rows, name, row) -> None:
    data = b"\n".join(json.dumps({**row, name: SYSTEM_TEXT}).encode() for _ in range(60))
    checked = check(data, rows(20, start=100))
    assert checked.errors == []
    expected = [{"role": "system", "content": SYSTEM_TEXT}, *dialogue_of(1)]
    assert json.loads(checked.train.splitlines()[0])["messages"] == expected
    assert checked.result.report.mapping[name] == "system"


@pytest.mark.parametrize(
    "mark",
    [
        *({"train": False}, {"trainable": False}, {"loss_weight": 0}, {"weight": 0}, {"loss": False}, {"training": 0}),
        {"loss_mask": 0},
    ],
)
def test_an_answer_that_is_not_to_be_learned_has_weight_0_whatever_its_mark_is_called(check, rows, mark) -> None:
    messages = [dialogue_of(1)[0], {**dialogue_of(1)[1], **mark}, *dialogue_of(2)]
    checked = check(rows(60, {"messages": messages}), rows(20, start=100))
    assert checked.codes == {}
    assert json.loads(checked.train.splitlines()[60])["messages"][1]["weight"] == 0


@pytest.mark.parametrize("name", ["mask", "train_on", "lossMask ids", "is-trained", "masked", "learn"])
@pytest.mark.parametrize("place", [0, 1])
def test_another_name_for_whether_a_message_is_learned_is_refused(check, rows, name, place) -> None:
    messages = dialogue_of(1)
    messages[place] = {**messages[place], name: 1}
    assert check(rows(60, {"messages": messages}), rows(20, start=100)).codes == {"weight_not_read": (61,)}


def test_older_functions_are_tools(check, rows) -> None:
    function = {"name": "find", "parameters": {}}
    checked = check(rows(60, {"messages": dialogue_of(5000), "functions": [function]}), rows(20, start=100))
    assert checked.codes == {}
    assert json.loads(checked.train.splitlines()[60])["tools"] == [{"type": "function", "function": function}]


GRADES = {
    "a field of the grade's name": {"A": "first shift"},
    "options of an order": {"options": "express"},
    "settings": {"options": {"express": True, "gift": "no"}},
    "the texts of choices": {"options": ["A", "B", "not graded"]},
    "other columns": {"shift_a": "first shift", "shift_b": "second shift"},
}


@pytest.mark.parametrize("fields", GRADES.values(), ids=GRADES)
def test_a_grade_is_no_letter_of_a_choice(check, fields) -> None:
    data = lines(question=lambda n: f"Which grade has part {n}?", answer=lambda n: "AB"[n % 2], **fields)
    assert check(data, held_out()).errors == []


def test_a_mark_counts_however_many_fields_there_are(check) -> None:
    fields = {f"field_{a}{b}": 1 for a in "abcdefgh" for b in "abcdefgh"}
    checked = check(lines(**fields, kto_tag=lambda n: n > 3), held_out())
    assert checked.errors == ["unpaired_preference"]


def test_fields_of_very_many_names_are_few_findings(check) -> None:
    rows = b"\n".join(
        json.dumps({"messages": dialogue_of(n), f"field_{'abcdefghij'[n % 10]}_{n}": 1}).encode() for n in range(200)
    )
    found = [one for one in problems(check(rows, held_out())) if one[0] == "ignored_field"]
    assert len(found) == 1 + NAMES_MAX or len(found) <= NAMES_MAX
    assert sum(count for _, _, count in found) == 200


REFERENCE = {"name": "a", "type": "string_check", "reference": "{{item.answer}}"}
NAMED = "def grade(sample, item):\n    return float(item['answer'] == item.get('answer'))"
UNNAMED = "def grade(sample, item):\n    return float(len(item) > 1)"


def test_used_fields_are_those_of_graders_rewards_slices_pairs_and_the_group() -> None:
    target = {"name": "t", "type": "string_check", "reference": "{{item.target}}"}
    recipe = Recipe.model_validate(
        {
            "base_model": "x",
            "method": {"type": "reinforcement", "graders": [target]},
            "evaluation": {
                "slices": ["fault"],
                "pairs": "case",
                "graders": [{**target, "reference": "{{item.answer}}"}],
            },
            "data": {"split_group": "patient"},
        }
    )
    assert used_fields(recipe).names == {"target", "fault", "answer", "patient", "case", "name"}
    assert not used_fields(recipe).others


# What the recipe says beside the base model, and whether a field `answer` beside an answer is used.
RECIPES: dict[str, tuple[dict[str, Any], bool]] = {
    "the default": ({}, False),
    "a grader of its own": ({"evaluation": {"graders": [REFERENCE]}}, False),
    "a part of the answer": (
        {"evaluation": {"graders": [{**REFERENCE, "reference": "{{item.answer.part}}"}]}},
        False,
    ),
    "Python": ({"evaluation": {"graders": [{"name": "p", "type": "python", "source": NAMED}]}}, False),
    "Python that may read all": (
        {"evaluation": {"graders": [{"name": "p", "type": "python", "source": UNNAMED}]}},
        False,
    ),
    "pairs": ({"method": {"type": "dpo"}}, False),
    "prompts": (
        {
            "method": {"type": "reinforcement", "graders": [REFERENCE]},
            "evaluation": {"graders": [{**REFERENCE, "operation": "like"}]},
        },
        True,
    ),
    "a slice": ({"evaluation": {"slices": ["answer"]}}, True),
    "the group": ({"data": {"split_group": "answer"}}, True),
}


@pytest.mark.parametrize(("settings", "is_used"), RECIPES.values(), ids=RECIPES)
@pytest.mark.parametrize("value", ["draft", "B", {"part": "x"}, ["x"], 3, False, "  "], ids=repr)
def test_graders_read_the_last_message_and_never_a_field_answer_beside_it(settings, is_used, value) -> None:
    findings = Findings(CODES)
    notes = FieldNotes(used_fields(Recipe.model_validate({"base_model": "x", **settings})))
    notes.add(1, {"answer": value}, dialogue_of(1), has_answer=True)
    notes.report(findings, "train")
    assert [one.code for one in findings.problems()] == ([] if is_used else ["ignored_field"])


def passages_in(messages: list[str], passages: list[str]) -> bool:
    dialogue = [{"role": "user", "content": text} for text in messages]
    notes, findings = FieldNotes(UsedFields()), Findings(CODES)
    notes.add(1, {"context": passages}, dialogue, has_answer=False)
    notes.report(findings, "train")
    return not findings.counts("passage_not_read")


@pytest.mark.parametrize("order", [1, -1])
def test_passages_are_found_in_any_order_in_one_message_or_in_many(order: int) -> None:
    passages = [f" the passage {number} of many. " for number in range(500)]
    assert passages_in(["\n".join(passages)], passages[::order])
    assert passages_in(passages, [*passages[::order], *passages, "passage 7 of many."])
    assert not passages_in(passages[1:], passages[::order])
    assert not passages_in(["it is the first", "half."], ["the first half.", "the first"])


def test_the_search_for_passages_against_the_order_of_a_large_row_ends() -> None:
    """In order they take one pass. Backwards each would take one: 30 GB for this row of 3 MB."""
    passages = [f"the passage {number:020}." for number in range(20_000)]
    message = "\n".join(f"{text} {'x' * 120}" for text in passages)
    assert passages_in([message], passages)
    assert not passages_in([message], passages[::-1])
