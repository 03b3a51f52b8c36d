"""Minimal inputs of public bug reports, each with the answer it must have: what is refused, said, and learned."""

from __future__ import annotations

import bz2
import json
import zipfile
from collections import Counter
from collections.abc import Callable
from io import BytesIO
from typing import Any, NamedTuple

import pytest

Row = dict[str, Any]
COUNT = 60


class Case(NamedTuple):
    """`errors`: all of them. `warnings`: among others. `learned`: in the first training row that is written."""

    data: bytes
    errors: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    learned: str = ""
    held_out: bytes | None = None
    recipe: str = ""
    name: str = "train.jsonl"


def q(n: int) -> str:
    return f"What is the torque of bolt {n} on line {n % 7}?"


def a(n: int) -> str:
    return f"Bolt {n} takes {3 * n + 5} newton meters on line {n % 7}."


def user(text: str) -> Row:
    return {"role": "user", "content": text}


def answer(text: str | None, **more: Any) -> Row:
    return {"role": "assistant", "content": text, **more}


def rows(make: Callable[[int], Row], start: int = 0) -> bytes:
    return b"".join(json.dumps(make(start + n), ensure_ascii=False).encode() + b"\n" for n in range(COUNT))


def chat(**more: Any) -> bytes:
    return rows(lambda n: {"messages": [user(q(n)), answer(a(n))], **more})


def turns(*after: Row, **more: Any) -> bytes:
    """A question, these messages and an answer."""
    return rows(lambda n: {"messages": [user(q(n)), *after, answer(a(n))], **more})


def pairs(question: str, reply: str, **more: Any) -> bytes:
    return rows(lambda n: {question: q(n), reply: a(n), **more})


def table(header: str, line: str = "What is bolt {n}?,Bolt {n} takes {n} newton meters", **odd: str) -> str:
    lines = [odd.get(f"line_{n}", line).replace("{n}", str(n)) for n in range(COUNT)]
    return "\n".join([header, *lines, ""])


TOOLS = [
    {"type": "function", "function": {"name": "look", "parameters": {"properties": {"bolt": {"type": "integer"}}}}}
]


def call(identifier: str | None = "c1", name: str = "look", arguments: Any = "{}") -> Row:
    made = {"type": "function", "function": {"name": name, "arguments": arguments}}
    return made if identifier is None else {"id": identifier, **made}


def calling(*calls: Row) -> Row:
    return answer(None, tool_calls=list(calls))


def result(identifier: str = "c1") -> Row:
    return {"role": "tool", "tool_call_id": identifier, "content": "ok"}


def sharegpt(*between: Row, **more: Any) -> bytes:
    tools = json.dumps([TOOLS[0]["function"]])
    own = {"tools": tools, **more}
    return rows(
        lambda n: {"conversations": [{"from": "human", "value": q(n)}, *between, {"from": "gpt", "value": a(n)}], **own}
    )


def context(state: str, start: int) -> bytes:
    return rows(
        lambda n: {
            "messages": [
                {"role": "system", "content": f"Context: hall {n} is {state} {n * n}"},
                user("Is the press on?"),
                answer(("yes", "no")[n % 2]),
            ]
        },
        start,
    )


def zipped(*names: str) -> bytes:
    file = BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in names:
            archive.writestr(name, chat())
    return file.getvalue()


DPO = "method: {type: dpo}"
REWARD = """
method: {type: reinforcement, graders: [{name: a, type: string_check, reference: "{{item.answer}}"}]}
evaluation: {graders: [{name: b, type: string_check, operation: like, reference: "{{item.answer}}"}]}
"""
READ, FIRST_CALL = call(arguments='{"bolt":1}'), r'"arguments":"{\"bolt\":1}"'
CASES = {
    "F2 rows of other contexts are no copies": Case(context("cold", 100), held_out=context("warm", 900)),
    "F2 a true copy": Case(context("cold", 100), ("train_eval_overlap",), held_out=context("cold", 100)),
    "F3 Dolly": Case(
        rows(lambda n: {"instruction": q(n), "context": "Page 3 says so.", "response": a(n), "category": "qa"}),
        warnings=("ignored_field",),
        learned="Page 3 says so.",
    ),
    "F3 SQuAD": Case(pairs("question", "answer", context="Page 3 says so."), learned="Page 3 says so."),
    "F3 system beside messages": Case(chat(system="Answer in German."), learned='"system","content":"Answer in German'),
    "F3 system_message": Case(pairs("prompt", "completion", system_message="Be kind."), learned="Be kind."),
    "F3 tools beside a pair": Case(
        rows(
            lambda n: {
                "input": {"messages": [user(q(n))]},
                "tools": TOOLS,
                "preferred_output": [answer(a(n))],
                "non_preferred_output": [answer(f"no {n}")],
            }
        ),
        recipe=DPO,
        learned='"tools":[{"type":"function"',
    ),
    "F3 functions": Case(chat(functions=[TOOLS[0]["function"]]), learned='"tools":[{"type":"function"'),
    "F3 documents": Case(
        rows(
            lambda n: {
                "messages": [user(q(n)), answer(a(n))],
                "documents": [{"text": f"A bolt of line {n} takes more than one would say."}],
            }
        ),
        ("passage_not_read",),
    ),
    "F4 KTO": Case(
        rows(lambda n: {**json.loads(chat().split(b"\n")[n]), "label": n % 2 == 0}), ("unpaired_preference",)
    ),
    "F4 TRL": Case(rows(lambda n: {"prompt": q(n), "completion": a(n), "label": n % 2 == 0}), ("unpaired_preference",)),
    "F4 kto_tag": Case(chat(kto_tag=False), ("unpaired_preference",)),
    "F4 rating": Case(
        rows(lambda n: {"prompt": q(n), "completion": a(n), "rating": (-1) ** n}), ("unpaired_preference",)
    ),
    "F6 images": Case(turns(user("<image> this"), images=["a.png"]), ("media_not_read",)),
    "F6 LLaVA": Case(sharegpt({"from": "human", "value": "<image>"}, image="a.jpg"), ("media_not_read",)),
    "F6 audio": Case(turns(user("<audio> this"), audios=["a.wav"]), ("media_not_read",)),
    "F8 no result": Case(turns(calling(READ), tools=TOOLS), ("tool_call_unanswered",)),
    "F8 the user after a call": Case(turns(calling(READ), user("?"), tools=TOOLS), ("tool_call_unanswered",)),
    "F8 an id that nobody called": Case(
        turns(calling(READ), result("c9"), tools=TOOLS), ("tool_call_unanswered", "tool_message_orphan")
    ),
    "F8 no call before": Case(turns(result(), tools=TOOLS), ("tool_message_orphan",)),
    "F8 an unknown function": Case(turns(calling(call(name="x")), result(), tools=TOOLS), ("tool_unknown",)),
    "F8 calls without tools": Case(turns(calling(READ), result()), warnings=("tools_missing",)),
    "F8 an id twice": Case(
        turns(calling(READ, READ), result(), result(), tools=TOOLS), ("tool_call_id_twice", "tool_result_twice")
    ),
    "F8 no id": Case(turns(calling(call(None)), result(), tools=TOOLS), ("tool_call_without_id",)),
    "F8 a key of arguments twice": Case(
        turns(calling(call(arguments='{"bolt":1,"bolt":2}')), result(), tools=TOOLS), ("duplicate_key",)
    ),
    "F9 a typo in a recipe for dpo": Case(
        rows(lambda n: {"prompt": q(n), "chosen": a(n), "rejected": f"no {n}"}),
        ("recipe_unknown_key",),
        recipe="method: {type: dpo, beta: 0.1}",
    ),
    "F9 a typo beside what is allowed": Case(
        rows(lambda n: {"prompt": q(n), "completion": f"{a(n)} Mail jane.doe{n}@acme-mail.com"}),
        ("recipe_unknown_key",),
        recipe="data: {personal_data: allow}\ntypo: 1",
    ),
    "F10 a pretty array": Case(
        json.dumps([json.loads(line) for line in pairs("instruction", "output").splitlines()], indent=2).encode(),
        name="train.json",
    ),
    "F10 an array in one line": Case(b"[" + b",".join(chat().splitlines()) + b"]"),
    "F11 other names": Case(pairs("query", "response")),
    "F11 OpenOrca": Case(pairs("question", "response", system_prompt="Be kind."), learned="Be kind."),
    "MT-Bench, whose turns are all questions": Case(
        rows(lambda n: {"question_id": n, "category": "writing", "turns": [q(n), "Shorter?"]}), ("unknown_format",)
    ),
    "F11 MATH": Case(pairs("problem", "solution")),
    "F11 input and target": Case(pairs("input", "target")),
    "F11 Gemini": Case(
        rows(
            lambda n: {
                "contents": [{"role": "user", "parts": [{"text": q(n)}]}, {"role": "model", "parts": [{"text": a(n)}]}]
            }
        ),
        learned='"role":"assistant","content":"Bolt',
    ),
    "F11 LLaMA-Factory's pairs": Case(
        rows(
            lambda n: {
                "chosen_messages": [user(q(n)), answer(a(n))],
                "rejected_messages": [user(q(n)), answer(f"no {n}")],
            }
        ),
        recipe=DPO,
    ),
    "F11 capitals": Case(table("Prompt,Completion").encode(), name="train.csv"),
    "F11 German": Case(table("Frage,Antwort").encode(), ("unknown_format",), name="train.csv"),
    "F11 German with columns": Case(
        table("Frage,Antwort").encode(), recipe="data: {columns: {Frage: user, Antwort: assistant}}", name="train.csv"
    ),
    "F11 no header": Case(table("What is it?,A bolt takes one").encode(), ("unknown_format",), name="train.csv"),
    "F12 function_call": Case(
        sharegpt(
            {"from": "function_call", "value": '{"name":"look","arguments":{"bolt":1}}'},
            {"from": "observation", "value": "5"},
        ),
        learned=FIRST_CALL,
    ),
    "F12 ShareGPT's pairs": Case(
        rows(
            lambda n: {
                "conversations": [{"from": "human", "value": q(n)}],
                "chosen": {"from": "gpt", "value": a(n)},
                "rejected": {"from": "gpt", "value": f"no {n}"},
            }
        ),
        recipe=DPO,
    ),
    "F12 tools of one blank": Case(sharegpt(tools=" ")),
    "F13 several turns": Case(
        rows(
            lambda n: {
                "messages": [{"role": "developer", "content": "x"}, user("Hi"), answer("Yes?"), user(q(n))],
                "answer": a(n),
            }
        ),
        recipe=REWARD,
    ),
    "F13 the end of a tool": Case(
        rows(lambda n: {"messages": [user(q(n)), calling(READ), result()], "tools": TOOLS, "answer": a(n)}),
        recipe=REWARD,
    ),
    "F13 GSM8K": Case(pairs("question", "answer"), recipe=REWARD),
    "F13 TRL": Case(rows(lambda n: {"prompt": [user(q(n))], "answer": a(n)}), recipe=REWARD),
    "F14 blanks": Case(turns(user("?"), answer("  \n ")), ("missing_content",)),
    "F14 no width": Case(turns(user("?"), answer("\u200b")), ("missing_content",)),
    "F14 a blank cell": Case(
        table("prompt,completion", 'What is {n}?," "').encode(), ("missing_content",), name="a.csv"
    ),
    "F14 answers alone": Case(rows(lambda n: {"messages": [answer(a(n))]}), ("no_question",)),
    "F16 an odd quotation mark": Case(
        table("prompt,completion", line_8='The 5" pipe fits,yes', line_21='The 6" pipe fits,no').encode(), name="a.csv"
    ),
    "F17 UTF-16": Case(chat().decode().encode("utf-16")),
    "F17 a zip": Case(zipped("a.jsonl")),
    "F17 a zip of two files": Case(zipped("a.jsonl", "b.jsonl"), ("zip_files",)),
    "F17 bzip2": Case(bz2.compress(chat()), ("not_utf8",)),
    "F17 a bad header": Case(b'"prompt,completion\nx,y\n', ("csv_header",), name="a.csv"),
    "F17 Latin-1": Case(chat().replace(b"torque", b"gr\xf6\xdfe"), ("invalid_utf8",)),
    "F17 Excel in Germany": Case(
        table("prompt,completion", "Größe {n}?,geprüft {n}").encode("cp1252"),
        warnings=("encoding_guessed",),
        name="a.csv",
    ),
    "F18 an index": Case(
        table(",prompt,completion", "{n},x{n},y{n}").encode(), warnings=("ignored_field",), name="a.csv"
    ),
    "F18 an empty column": Case(table("prompt,completion,", "x{n},y{n},").encode(), name="a.csv"),
    "F18 sep": Case(("sep=;\n" + table("prompt;completion", "x{n};y{n}")).encode(), name="a.csv"),
    "F18 bars": Case(table("prompt|completion", "x{n}|y{n}").encode(), name="a.csv"),
    "F18 blanks before quotation marks": Case(table('"prompt", "completion"', '"x{n}", "y{n}"').encode(), name="a.csv"),
    "F19 a number": Case(rows(lambda n: {"prompt": q(n), "completion": n % 3}), learned='"content":"'),
    "F19 a list": Case(rows(lambda n: {"instruction": q(n), "output": [a(n), q(n)]}), ("data_type",)),
    "F19 a mark between files": Case(
        chat() + b"\xef\xbb\xbf" + pairs("x", "y"), ("byte_order_mark", "missing_messages_list")
    ),
    "F19 train": Case(
        turns(answer("no"), user("?")).replace(b'"no"', b'"no","train":false'), learned='"content":"no","weight":0'
    ),
    "F19 trainable": Case(turns(answer("no", trainable=False), user("?")), learned='"content":"no","weight":0'),
    "F19 loss_weight": Case(turns(answer("no", loss_weight=0), user("?")), learned='"content":"no","weight":0'),
    "F19 reasoning": Case(turns(answer("x", reasoning_content="hm"), user("?")), ("reasoning_not_read",)),
    "F19 thinking": Case(turns(answer("x", thinking="hm"), user("?")), ("reasoning_not_read",)),
    **{
        f"F19 arguments as {kind}": Case(turns(calling(call(arguments=arguments)), result(), tools=TOOLS), learned=read)
        for kind, arguments, read in (
            ("an object", {"bolt": 1}, FIRST_CALL),
            ("text", '{"bolt":1}', FIRST_CALL),
            ("text of text", json.dumps('{"bolt":1}'), FIRST_CALL),
            ("nothing", "", '"arguments":"{}"'),
        )
    },
    "F19 a contract": Case(
        rows(
            lambda n: {
                "prompt": f"Clause {n}: discharge of the debt on 12 March 2019, treatment of tax",
                "completion": a(n),
            }
        )
    ),
}


@pytest.mark.few_cases(12)
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_reported_input_has_its_answer(check, case: Case) -> None:
    recipe = f"{case.recipe}\n".encode() if case.recipe else None
    checked = check(case.data, case.held_out, recipe, file_name=case.name)
    assert tuple(checked.errors) == case.errors
    assert set(case.warnings) <= set(checked.codes)
    assert "clinical_date" not in checked.codes
    assert checked.result.report.passed is not bool(case.errors)
    if not case.errors:
        assert case.learned in checked.train.splitlines()[0].decode()
        assert len((checked.train + checked.eval).splitlines()) == COUNT * (2 if case.held_out else 1)


LABELS = ("urgent", "routine", "discharge")


def triage(carrier: str, shares: tuple[int, ...] = (200, 200, 200)) -> bytes:
    """What tells the rows apart stands in `carrier` alone."""

    def row(n: int, label: str) -> Row:
        note = f"Note {n}: pressure {n * 7}, finding {n * 13 % 101}"
        before = {
            "system": [{"role": "system", "content": note}, user("What is the triage?")],
            "developer": [{"role": "developer", "content": note}, user("What is the triage?")],
            "tool": [user("What is the triage?"), calling(call()), {**result(), "content": note}],
            "context": [user(f"What is the triage?\n{note}")],
        }
        return {"messages": [*before[carrier], answer(label)], "id": f"id-{n}"}

    labels = [label for label, count in zip(LABELS, shares, strict=True) for _ in range(count)]
    return b"".join(json.dumps(row(n, label)).encode() + b"\n" for n, label in enumerate(labels))


@pytest.mark.few_cases(3)
@pytest.mark.parametrize("recipe", [None, b"data: {split_group: id}"])
@pytest.mark.parametrize("shares", [(200, 200, 200), (540, 42, 18)])
@pytest.mark.parametrize("carrier", ["system", "developer", "tool", "context"])
def test_f1_no_class_is_on_one_side_only_wherever_the_case_stands(check, carrier, shares, recipe) -> None:
    checked = check(triage(carrier, shares), recipe=recipe)
    assert checked.errors == []
    learned, held_out = (
        Counter(json.loads(line)["messages"][-1]["content"] for line in part.splitlines())
        for part in (checked.train, checked.eval)
    )
    assert sum(held_out.values()) == 60
    for label, count in zip(LABELS, shares, strict=True):
        assert learned[label] + held_out[label] == count
        assert abs(held_out[label] - count / 10) <= 1
