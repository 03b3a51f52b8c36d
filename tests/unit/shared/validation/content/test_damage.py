"""Text that was destroyed on its way into the file: one finding a kind, with its share, and hardly a false one."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

import pytest

from shared.validation.content.damage import CODED, CutAnswers, cut_end, is_coded, unfilled
from shared.validation.content.pattern_set import PatternSet
from shared.validation.content.row_scan import RowScan
from tests.unit.shared.validation.content.scanned import WORDS

CODES = {"damaged_text", "damaged_file"}
HELD_OUT = b"\n".join(
    json.dumps({"prompt": f"Where is part {n}?", "completion": f"It is in hall {n * 7}."}).encode() for n in range(30)
)


def of_pair(question: str, answer: str) -> dict[str, Any]:
    return {"prompt": question, "completion": answer}


def of_turns(question: str, answer: str) -> dict[str, Any]:
    texts = (question, answer, "Is that all?", f"That is all of {len(question)}: {hash(question) % 997}.")
    return {"messages": [{"role": ("user", "assistant")[n % 2], "content": text} for n, text in enumerate(texts)]}


def file_of(answer: str, count: int, rows: int = 100, form: Callable[[str, str], dict[str, Any]] = of_pair) -> bytes:
    """Rows of which the first have this answer, `{q}` in which is the question."""
    made = []
    for n in range(rows):
        question = f"What does part {n} of machine {n * 7919 % 997} do?"
        made.append(form(question, answer.replace("{q}", question) if n < count else f"It turns wheel {n * 31}."))
    return b"\n".join(json.dumps(row).encode() for row in made)


def damage(checked: Any) -> list[tuple[str, int, tuple[int, ...]]]:
    return [(one.code, one.count, one.rows[:2]) for one in checked.result.report.problems if one.code in CODES]


# The answer, and the share of rows from which the file is refused.
DAMAGED: dict[str, tuple[str, float]] = {
    **{word: (word, 0.5) for word in ("NaN", "nan", "null", "NULL", "undefined", " NaT\n", "<NA>", "\\N")},
    **{word: (word, 0.9) for word in ("None", "none", "N/A", "n/a", "NA")},
    **{word: (word, 0.1) for word in ("#REF!", "#VALUE!", "#N/A", "#NAME?", "#DIV/0!", "#BEZUG!", "#####", "#NV")},
    **{word: (word, 0.1) for word in ("[object Object]", "[object Object],[object Object]", "[object Promise]")},
    **{word: (word, 0.5) for word in (".", "-", "...", "\u2026", " -- ", "\u201c\u201d", "- " * 200)},
    "the question": ("{q}", 0.5),
    "the question between blanks": (" {q}\n", 0.5),
    "a full cell": ("The pump turns. " * 2047 + "The pump turns.", 0.1),
    "a full cell of emoji": ("The pump is \U0001f527. " + "x" * (32_767 - 16), 0.1),
    **{
        text: (f"It is in {text.encode().decode(encoding)}, as the plan says.", 0.1)
        for text, encoding in (
            *((text, "cp1252") for text in ("caf\u00e9", "don\u2019t", "gr\u00f6\u00dfer", "\u20ac 5", "5 \u00b0C")),
            *((text, "latin-1") for text in ("se\u00f1or", "\u00c9cole", "S\u00e3o", "\u041f\u043e\u043b")),
            *((text, "mac-roman") for text in ("h\u00f4tel caf\u00e9", "we\u2019re", "\u00dcbergr\u00f6\u00dfe")),
            ("\u4e2d\u6587\u5b57", "latin-1"),
            ("\u017c\u00f3\u0142w", "cp1252"),
            ("\U0001f600", "cp1252"),
        )
    },
    "a lost character": ("It is a caf\ufffd.", 0.1),
    "lost characters": ("\ufffd\ufffd\ufffd", 0.1),
}


@pytest.mark.few_cases(3, ci=50)
@pytest.mark.parametrize(("answer", "limit"), DAMAGED.values(), ids=[str(number) for number in range(len(DAMAGED))])
@pytest.mark.parametrize("form", [of_pair, of_turns])
def test_destroyed_answers_are_one_finding_and_many_of_them_refuse_the_file(check, answer, limit, form) -> None:
    few, many = (check(file_of(answer, count, form=form), HELD_OUT) for count in (5, round(100 * limit)))
    assert damage(few) == [("damaged_text", 5, (1, 2))]
    assert damage(many) == [("damaged_file", round(100 * limit), (1, 2))]
    assert "(5 of 100 rows, 5.0%)" in next(one.message for one in few.result.report.problems if one.code in CODES)


SOUND = {
    "a sentence about them": "NaN is no number, null is no object, and #REF! is an error of Excel.",
    "a list": "[]",
    "an object": "{}",
    "a comparison": "<",
    "an operator": "+",
    "an emoji": "\U0001f44d",
    "a currency": "\u20ac",
    "accents": "S\u00c3O, \u00c2ge, \u00e2ge, na\u00efve, \u00c9\u2013\u00c8, Gro\u00df\u2026, \u0141\u00f3d\u017a",
    "a capital before a mark": "\u201cAMANH\u00c3\u201d, MANH\u00c3\u2026, \u00abROM\u00c2\u00bb",
    "another script": "\u041f\u0440\u0438\u0432\u0435\u0442, \u4f60\u597d, \u0627\u0644\u0633",
    "mathematics": "\u221a2, \u2202x, \u2030",
    "a heading": "# Parts",
    "a tag": "#pump",
    "nothing, in a sentence": "None of them.",
    "a long text": "x" * 32_766,
    "a longer text": "x" * 32_768,
}


@pytest.mark.few_cases(3)
@pytest.mark.parametrize("answer", SOUND.values(), ids=SOUND)
def test_sound_answers_are_not_reported(check, answer) -> None:
    assert damage(check(file_of(answer, 60), HELD_OUT)) == []


def test_a_few_answers_that_repeat_the_question_are_as_they_are_in_a_translation(check) -> None:
    assert damage(check(file_of("{q}", 4), HELD_OUT)) == []


@pytest.mark.few_cases(3)
@pytest.mark.parametrize("label", ["None", "N/A", "null", "undefined", "-"])
@pytest.mark.parametrize("count", [4, 50, 95])
def test_a_label_for_none_of_the_others_is_a_warning_at_most(check, label, count) -> None:
    rows = [
        {"prompt": f"Case {n}: {n * 7919}", "completion": label if n < count else ("pump", "valve")[n % 2]}
        for n in range(100)
    ]
    checked = check(b"\n".join(json.dumps(row).encode() for row in rows))
    assert damage(checked) == [("damaged_text", count, (1, 2))]
    assert checked.errors == []


def test_a_file_of_a_word_for_no_value_is_refused_whatever_else_is_in_it(check) -> None:
    for count in (57, 60):
        assert damage(check(file_of("NaN", count, rows=60), HELD_OUT)) == [("damaged_file", count, (1, 2))]


def test_few_rows_never_refuse_a_file(check) -> None:
    assert damage(check(file_of("#REF!", 4, rows=12), HELD_OUT)) == [("damaged_text", 4, (1, 2))]


def test_both_answers_of_a_pair_and_the_reference_of_a_prompt_are_looked_at(check) -> None:
    pairs = [
        {"prompt": f"Why {n}?", "chosen": f"So {n}.", "rejected": "NaN" if n < 3 else f"No {n}."} for n in range(60)
    ]
    prompts = [{"prompt": f"How many are {n}?", "answer": "#N/A" if n < 3 else str(n * 7)} for n in range(60)]
    grader = b"graders: [{name: same, type: string_check}]"
    for rows, recipe in (
        (pairs, b"method: {type: dpo}"),
        (prompts, b"method: {type: reinforcement, %b}\nevaluation: {%b}" % (grader, grader)),
    ):
        assert damage(check(b"\n".join(json.dumps(row).encode() for row in rows), recipe=recipe)) == [
            ("damaged_text", 3, (1, 2))
        ]


def test_the_finding_names_the_message_of_each_row(check) -> None:
    def form(question: str, answer: str) -> dict[str, Any]:
        turns = of_turns(question, answer)["messages"]
        return {"messages": turns if "1 of" in question else turns[2:] + turns[:2]}

    (found,) = [
        one for one in check(file_of("NaN", 3, form=form), HELD_OUT).result.report.problems if one.code in CODES
    ]
    assert found.parts == ("messages[3].content", "messages[1].content", "messages[3].content")


def test_the_rows_of_both_files_are_counted_apart(check) -> None:
    held_out = file_of("[object Object]", 6, rows=30).replace(b"What does", b"Where does")
    checked = check(file_of("[object Object]", 5), held_out)
    found = [(one.code, one.file, one.count) for one in checked.result.report.problems if one.code in CODES]
    assert found == [("damaged_file", "eval", 6), ("damaged_text", "train", 5)]


# Prose whose encoding was not undone, and text that shows such signs on purpose.
CODED_PROSE = {
    "escapes": [
        "Gr\\u00fc\\u00dfe aus M\\u00fcnchen",
        "The pump \\u2013 and only it \\u2013 is on.",
        "\\u201cHello\\u201d, she said",
        "Dear Ann,\\nThe pump is on.\\nRegards",
        "First.\\n\\nSecond.",
        "first line\\nsecond line\\nthird line",
        'He said \\"yes\\" and left.',
        "Line one.\\r\\nLine two.",
        "Line one_x000D_\nLine two",
        "\\u4f60\\u597d\\u4e16\\u754c",
        '"Dear Ann,\\nThe pump is on."',
        "M\\xc3\\xbcller",
        "Steps:\\n1. Open\\n2. Close",
        "- a\\n- b",
        "caf\\u00e9",
        "It is on.\\n",
        "Line one.\\tLine two.\\nEnd",
    ],
    "entities": [
        "Tom &amp; Jerry",
        "don&#39;t do that",
        "&quot;Yes&quot;, he said.",
        "R&amp;D",
        "a &lt; b &gt; c",
        "caf&eacute;",
        "Gr&ouml;&szlig;e",
        "it&rsquo;s",
        "one&nbsp;two",
        "it&#x27;s",
        "&lt;p&gt;Hello&lt;/p&gt;",
        "5 &deg;C",
    ],
    "transfer": [
        "Gr=C3=BC=C3=9Fe",
        "it=E2=80=99s on",
        "M=FCller",
        "=?UTF-8?Q?Hallo?=",
        "Dear%20customer",
        "M%C3%BCnchen ist sch%C3%B6n",
        "Dear%20customer%2C%20thank%20you.",
    ],
}
MEANT = [
    'print("a\\nb")\n',
    "```python\nprint('Hello.\\nWorld')\n```",
    'printf("Hello!\\nBye %d\\n", 3);',
    "Use `\\n` to break lines and `\\u00fc` for \xfc.",
    "Use \\n to break a line.",
    're.sub(r"\\n+", "\\n", text)',
    "[^\\r\\n]+",
    "[\\u00c0-\\u017f]+",
    '{"text": "Dear Ann,\\nThe pump is on.", "name": "M\\u00fcller"}',
    '["a\\nB"]',
    "$\\nabla f = \\nu$",
    "f(x,\\nu) \\neq \\nabla g",
    "a\\neq b and a\\neq c",
    "Run .\\node.exe or C:\\new\\table",
    "cd C:\\Users\\ann\\notes",
    "\\frac{1}{2}\\n",
    "\\text{a} \\to \\theta",
    "\\begin{align}a&=b\\\\c&=d\\end{align}",
    "<p>Tom &amp; Jerry</p>",
    '<a href="?a=1&amp;b=2">x</a>',
    "Write &amp; for an ampersand in HTML.",
    "The HTML entity &eacute; is \xe9.",
    "`&amp;` is it",
    "x = a & b; y = &z;",
    "int *p = &amp[0];",
    "a=20; b=3D",
    "x=E9\ny=FC12",
    "color=#FFaa00",
    "https://example.org/a%20b?q=M%C3%BCnchen",
    "See https://example.org/M%C3%BCnchen now",
    "GET /search?q=a%20b",
    "100%20 of",
    "LaTeX: \\newline, \\nonumber",
    "s = 'a.\\nB'",
    "echo -e 'Hello.\\nWorld'",
    "console.log('a.\\nB')",
    'const s = "M\\u00fcller";',
    "The regex \\d+\\n matches",
    "sed 's/a/\\n/'",
    "SELECT 'a\\nB'",
    "C:\\nginx\\conf",
    "Path: D:\\data\\new\\x.txt",
    "a.\\nabla",
    '`He said \\"x\\"`',
    'path=\\"C:\\\\x\\"',
    'The string "\\u00e9" is \xe9',
    'std::cout << "Done.\\n" << x;',
    "df['a'] = df.a.str.replace('\\n', ' ')",
    'f"Name: {x}\\nAge: {y}"',
    "'''a.\\nB'''",
    's = """He said \\"yes\\".\\nB"""',
    "$$\\n$$",
    "The command \\noindent sets it",
    "Matrix \\\\ \\hline a & b \\\\",
    "tail -n1 a\\ b",
    "Write \\u00e9 in JSON for \xe9.",
    "{'a': 'b.\\nC'}",
    "```\nTom &amp; Jerry =C3=BC \\u00fc.\\nX\n```",
    "x &lt;- 5 in an XML file",
]


def test_prose_with_signs_of_an_encoding_is_told_from_code_markup_and_mathematics() -> None:
    triggers = PatternSet(CODED)
    coded = [(kind, text) for kind, texts in CODED_PROSE.items() for text in texts]
    assert [one for one in coded if one[0] not in triggers.hits(f"Why?\n{one[1]}\nSo.") or not is_coded(*one)] == []
    assert [(kind, text) for text in MEANT for kind in CODED if is_coded(kind, text)] == []


@pytest.mark.parametrize(
    ("kind", "word"), [("escapes", "json.loads"), ("entities", "html.unescape"), ("transfer", "quopri")]
)
def test_many_coded_answers_are_one_warning_with_a_remedy(check, kind, word) -> None:
    checked = check(file_of(CODED_PROSE[kind][0] + " {q}", 40), HELD_OUT)
    assert damage(checked) == [("damaged_text", 40, (1, 2))]
    (found,) = [one for one in checked.result.report.problems if one.code in CODES]
    assert word in found.fix
    assert "(40 of 100 rows, 40.0%)" in found.message


def prose(chance: random.Random, least: int, most: int) -> str:
    return " ".join(chance.choices(WORDS, k=chance.randrange(least, most))) + "."


def cut_at(length: int) -> Callable[[random.Random, int], str]:
    return lambda chance, _: prose(chance, length // 16, length // 2)[:length]


def shortened(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 3] + "..."


HAN = "\u7684\u4e00\u662f\u4e0d\u4e86"
# What is found of 150 answers.
ENDS: dict[str, tuple[Callable[[random.Random, int], str], str | None]] = {
    **{str(length): (cut_at(length), f"cut:{length}") for length in (50, 140, 255, 1024)},
    "4096": (lambda chance, _: prose(chance, 300, 1500)[:4096], "cut:4096"),
    "without blanks at the end": (lambda chance, _: prose(chance, 10, 99)[:255].strip(), "cut:255"),
    "Chinese": (lambda chance, _: "".join(chance.choices(HAN, k=chance.randrange(40, 250)))[:128], "cut:128"),
    "pandas": (lambda chance, _: shortened(prose(chance, 4, 25), 50), "cut:50"),
    "one ellipsis each": (lambda chance, _: prose(chance, 4, 30)[:-1] + "...", "ellipsis"),
    "of one sign": (lambda chance, _: prose(chance, 4, 30)[:-1] + "\u2026", "ellipsis"),
    "no periods": (lambda chance, _: prose(chance, 4, 60)[:-1], None),
    "periods": (lambda chance, _: prose(chance, 4, 60), None),
    "a template": (lambda chance, n: f"The part {n:04} of the machine is in hall {n % 90 + 10} of plant north", None),
    "numbers": (lambda chance, n: f"The order of the customer has the id {chance.getrandbits(128):032x}", None),
    "hashes": (lambda chance, n: f"{chance.getrandbits(256):064x}", None),
    "JSON": (lambda chance, n: json.dumps({"part": n % 90 + 10, "says": "x" * 100}), None),
    "code": (lambda chance, n: "def part(x):\n    return x + " + "yz" * chance.randrange(9, 30), None),
    "grids": (lambda chance, n: " ".join(chance.choices("ABCD", k=64)), None),
    "labels": (lambda chance, n: chance.choice(("pump", "valve")), None),
    "an ellipsis alone": (lambda chance, n: "\u2026", None),
}  # fmt: skip


def test_answers_cut_at_a_length_are_told_from_answers_that_have_one() -> None:
    wrong = []
    for name, (answer, kind) in ENDS.items():
        chance, cut = random.Random(7), CutAnswers()
        answers = [answer(chance, number) for number in range(1, 151)]
        for number, text in enumerate(answers, start=1):
            cut.lengths[len(text)] += 1
            if end := cut_end(text):
                cut.add(number, len(text), end)
        found = [(one, count > 20, len(rows)) for one, count, rows in cut.found()]
        if found != ([(kind, True, 5)] if kind else []):
            wrong.append((name, found))
    assert wrong == []


def test_cut_answers_of_questions_and_of_pairs_are_one_warning(check) -> None:
    chance = random.Random(3)
    cut = [{"prompt": f"Why {n}?", "completion": prose(chance, 20, 90)[:255]} for n in range(90)]
    pairs = [{"prompt": f"Why {n}?", "chosen": row["completion"], "rejected": "So."} for n, row in enumerate(cut)]
    for rows, recipe in ((cut, None), (pairs, b"method: {type: dpo}")):
        checked = check(b"\n".join(json.dumps(row).encode() for row in rows), None, recipe)
        found = [one for one in checked.result.report.problems if one.code in CODES]
        assert [one.message.startswith("Answers end after 255 characters") for one in found] == [True]


UNFILLED = [
    "{\u0438\u043c\u044f_\u043a\u043b\u0438\u0435\u043d\u0442\u0430}, it is on.",
    "Dear {first name},",
    "Dear [Recipient's Name],",
    "[Company Name] writes to you.",
    "Use {placeholder} or {{template}}.",
    "Your order(s), {customer_name}.",
    "Answer by the text.\n{context}\nQuestion: {question}",
    "Context: {context}",
    "Hello {customer_name}, thanks.",
    "Dear {{ name }}, your order",
    "{{customer.name}}: hi",
    "Sincerely,\n[Your Name]",
    "[YOUR NAME]",
    "Regards, [Insert name here]",
    "<INSERT DATE> is the date",
    "<your name>",
    "The part %s is broken.",
    "Order %(order)s came",
    "We shipped %d boxes",
    "Mit freundlichen Grüßen\n[Ihr Name]",
    "The user ({user_name}) asked",
    'Summarize: "{text}"',
    "{instruction}",
    "Name: {name}",
    "%s",
    "Text:{document}.",
]
FILLED = [
    'Console.WriteLine($"Hello {name}");',
    'println!("Hello {name}");',
    'puts "Hello #{name}"',
    "@book{knuth, title = {The Art}, year = {MCMLXVIII}}",
    "{{citation needed}} {{ .Values.name }}",
    "In a template {name} stands for the name.",
    "[Company Name](https://example.com)",
    "MATCH (n {name}) RETURN n",
    "It is a [NAME] of [DATE], says [PERSON_1].",
    "{return value}; {int count};",
    'print(f"Hello {name}")',
    "Use ```\n{name}\n```",
    '{"name": "x", "b": {"c": 1}}',
    "\\frac{alpha}{beta}",
    "$x^{max}_{min}$",
    "\\begin{align} x \\end{align}",
    "$\\{abc\\}$",
    "In Jinja write {{ name }}.",
    "{% for x in y %}{{ x.name }}{% endfor %}",
    'Use printf("%s", name);',
    "GET /users/{user_id}/orders",
    "It rose by 50% since",
    "100%safe",
    "the date %d.%m.%Y",
    "strftime %d",
    "[your profile](https://x)",
    "Press [Insert key] now",
    "press [Enter]",
    "[1] see",
    "const a = `${name}`;",
    "<div>{name}</div>",
    "logging.info('%s took %d', a, b)",
    "SELECT * FROM x WHERE id = %s",
    'name: "{{ item }}"',
    "Ansible: {{ item }}",
    "Replace the placeholder {name} by Ann.",
    "body {color: red}",
    "if (x) {return}",
    "[NAME_1] called",
    "[REDACTED] called",
    "<PERSON> called",
    "{a, b, c}",
    "the set {x}",
    "`{name}`",
    '"Hello %s" % name',
    '"Hello {}".format(name)',
    "x := {foo}",
    "public void set() { get; }",
    "<b>bold</b>",
    "f'{value:.2f}'",
    "Write {{name}} in a Vue template",
    "C: %d prints ints; use printf",
    "\\text{if } x",
    "\\sqrt[3]{abc}",
    '{"q": "{name}"}',
    "Helm: {{ .Values.image }}",
    "{{ .Values.image }}",
    "image: {{ image.name }}",
    "dict {key: value}",
    "echo ${HOME} {name}",
    "[your name](mailto:x)",
    "width: calc(100% - 2px)",
]


def filled_of(question: str, answer: str) -> str:
    """What is found of a row, by all that looks at one."""
    messages = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    scan = RowScan().find({"messages": messages, "item": {}})
    assert scan is not None
    return "".join(detail.partition(":")[2] for code, detail, *_ in scan[0] if detail.startswith("unfilled"))


def test_places_that_nothing_filled_in_are_found_in_questions_and_answers_and_not_in_code() -> None:
    plain = "It stands in hall 3."
    missed = [text for text in UNFILLED if not filled_of(text, plain) or not filled_of(plain, text)]
    wrong = [text for text in FILLED if filled_of(text, plain) or filled_of(plain, text)]
    fenced = [text for text in UNFILLED if filled_of("Which code?", f"```\n{text}\n```")]
    assert (missed, wrong, fenced) == ([], [], [])


@pytest.mark.parametrize(("count", "rows", "found"), [(60, 100, 1), (5, 100, 1), (4, 60, 0), (10, 300, 0)])
def test_places_that_nothing_filled_in_are_one_warning_with_an_example_where_many_rows_have_them(
    check, count, rows, found
) -> None:
    places = ("{context}", "{customer_name}", "[Your Name]")
    data = b"\n".join(
        file_of(f"As {places[n % 3]} says, it is {n * n}.", rows=1, count=1).replace(b"part 0", b"part %d" % n)
        if n < count
        else json.dumps(of_pair(f"What does part {n} do?", f"It turns wheel {n * 31}.")).encode()
        for n in range(rows)
    )
    checked = check(data, HELD_OUT)
    damaged = [one for one in checked.result.report.problems if one.code in CODES]
    assert [(one.code, one.count, one.rows[0]) for one in damaged] == [("damaged_text", count, 1)] * found
    assert all(f"such as {{context}} ({count} of {rows} rows" in one.message for one in damaged)


def test_a_pair_and_a_prompt_are_looked_at_for_places_that_nothing_filled_in() -> None:
    prompt = [{"role": "user", "content": "Use {context}."}]
    answer = [{"role": "assistant", "content": "Hello {name}."}]
    result = {"role": "tool", "tool_call_id": "1", "content": "{name}"}
    assert unfilled({"input": {"messages": prompt}, "preferred_output": answer}) == "{context}"
    assert unfilled({"input": {"messages": []}, "preferred_output": answer}) == "{name}"
    assert unfilled({"messages": [result]}) == unfilled({"text": "{name}"}) == ""
