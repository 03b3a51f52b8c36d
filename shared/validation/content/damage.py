"""Text that was destroyed on its way into the file: no values, wrong decoding, escapes, cut cells and answers.

So too what a template has left to be filled in."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from shared.validation.content.pattern_set import PATTERNS, PatternSet
from shared.validation.names import NO_VALUE, NONE

DAMAGED, MOJIBAKE, UNFILLED = "damaged_text", "mojibake", "unfilled"
MIN_ROWS = 5  # of fewer rows the file is never refused, whatever their share
_MIN_CUT = 40  # characters; shorter answers have one length by chance, as labels and codes do
_CELL = 32_767  # UTF-16 code units that a cell of Excel holds (Microsoft, "Excel specifications and limits")
_WORDS = {**dict.fromkeys(NO_VALUE, "no_value"), **dict.fromkeys(NONE, "none")}
_ERROR = re.compile(r"#(?:N/A|NV|GETTING_DATA|[A-ZÀ-Ý0-9_/]{2,20}[!?]|##+)|(?:\[object \w+\][\s,]*)+")
_PUNCTUATION = " \t\r\n.,;:!?…-–—_'\"“”‘’*•·´`~/\\|#"  # noqa: RUF001

# UTF-8 that was read as Windows-1252: accents, quotation marks and emoji; letters of Central Europe, words of other
# alphabets and of East Asia; as Mac Roman; what no reader could decode. Signs that may follow a capital do not count.
_LAST_BYTE = "[\x80-\xbf" + "".join(bytes([byte]).decode("cp1252", "ignore") for byte in range(0x80, 0xA0)) + "]"
_MOJIBAKE = "|".join(
    (
        "Ã[\x80-\x9f¡-¶¸-º¼-¿€‚ƒ„†‡ˆ‰Š‹ŒŽ–˜™š›œžŸ]|Â[\xa0-º¼-¿]|â[€‚„†]|ðŸ",  # noqa: RUF001
        f"[ÄÅ][‚›¼º„‡™…Ÿ±°¡¾]|(?:[Ä-ß]{_LAST_BYTE}){{2}}|(?:[à-ï]{_LAST_BYTE}{{2}}){{2}}",  # noqa: RUF001
        "√[©º∂§ü†®ñ]|‚Ä[ôúùìîò¶]|\ufffd",  # noqa: RUF001
    )
)


# Signs of an encoding that was not undone. Patterns of RE2 and of `re`.
_LETTERS = "(?:acute|grave|circ|uml|tilde|cedil)"
CODED = {
    "escapes": "|".join(
        (
            r"_x000[dD]_|[\w.!?:,;)](?:\\r)?\\n(?:\\[nrt]|[A-Z0-9*•#-]| *(?:\n|$))|\w[.!?](?:\\r)?\\n[a-z]{3}",
            r"[a-z]\\n[a-z][a-z ]+\\n[a-z]|\\\"[A-Za-z]|\\x[cC]3\\x[89abAB]|\\x[eE]2\\x80",
            r"[A-Za-z]\\u[0-9a-fA-F]{4}|\\u[0-9a-fA-F]{4}[a-z]|(?:\\u[0-9a-fA-F]{4}){3}|\\u20(?:1[0-9a-fA-F]|26|[aA][cC])",
        )
    ),
    "entities": r"&(?:amp|lt|gt|quot|apos|nbsp|#\d{2,5}|#x[0-9a-fA-F]{2,5}|szlig|euro|hellip|deg|[lr][sd]quo|[lr]aquo"
    rf"|[nm]dash|[a-zA-Z]{_LETTERS});",
    "transfer": r"=C3=[89AB][0-9A-F]|=E2=80=[89A-F][0-9A-F]|[A-Za-z]=(?:E[0-9A-F]|F[1-69A-C]|DF)[a-z]{2}"
    r"|=\?[\w-]+\?[QBqb]\?|\w(?:%20|%C3%[89AB][0-9A-F])\w",
}
_CODED = {kind: re.compile(pattern) for kind, pattern in CODED.items()}
# What shows such signs on purpose: markup, and a text about them; of others what is code, quoted, an address or a path,
# or a command of LaTeX.
_MEANT = re.compile(
    r"\A\s*[{[<]|</?[a-z]|html|xml|entit|escap|encod|decod|ampersand|unicode|mime\b|json|regex|latex", re.IGNORECASE
)
_QUOTED = re.compile(
    r"```.*?(?:```|\Z)|`[^`]*`|(?<!\\)\"(?:[^\"\\]|\\.)*\"|(?<![\w\\])'(?:[^'\\]|\\.)*'(?!\w)"
    r"|[\w.:-]*/\S*|\b[A-Za-z]:\\\S*|(?<!\S)\.{1,2}\\\S*|\\n(?:eq|abla|u|i|ot|oindent|ewline|onumber)(?![a-z])",
    re.DOTALL,
)
_STRING = re.compile(r'\s*"((?:[^"\\]|\\.)+)"\s*', re.DOTALL)  # JSON in JSON


_PLACES = re.compile("|".join(PATTERNS[UNFILLED]["places"]))
_CODE = PatternSet({pattern: pattern for pattern in PATTERNS[UNFILLED]["code"]})
TRIGGERS = {**CODED, MOJIBAKE: _MOJIBAKE, UNFILLED: "|".join(PATTERNS[UNFILLED]["trigger"])}


class Kind(NamedTuple):
    """`least` and `refused`: shares of rows from which it is reported, and from which the file is refused."""

    words: str
    remedy: str
    refused: float
    least: float = 0
    may_be_label: bool = False  # never an error where the answers are labels


_EXPORT = "Correct it at its source and export the file again, or remove the rows"
_UTF8 = "Save the source as UTF-8 again; where � stands, the character is lost"
_DECODE = "Decode them once more ({}) where they come from, and export the file again"
_CUT = "Export the whole answers, or remove the rows; nothing is needed if they are meant to end so"
_FILL = "Fill it in where the rows are made, or remove them; nothing is needed if the model is to write such places"
_NEVER = 2
KINDS = {
    "no_value": Kind("Answers are a word for no value, such as NaN, null or undefined", _EXPORT, 0.5, 0, True),
    "none": Kind("Answers are None, N/A or the like", "If no answer was known, remove the rows", 0.9, 0, True),
    "error": Kind("Answers are an error of a program, such as #REF!, #N/A or [object Object]", _EXPORT, 0.1),
    "punctuation": Kind("Answers are nothing but punctuation", "Write the answer, or remove the rows", 0.5, 0, True),
    "question": Kind("Answers repeat the question word for word", "See whether two columns are the same", 0.5, 0.05),
    "cell_limit": Kind("Texts have 32,767 characters, where Excel cuts a cell", "Export the file without Excel", 0.1),
    "escapes": Kind("Texts show escapes such as \\u00fc, \\n or _x000D_", _DECODE.format("json.loads"), _NEVER),
    "entities": Kind("Texts show entities such as &amp; or &#39;", _DECODE.format("html.unescape"), _NEVER),
    "transfer": Kind(
        "Texts are encoded for mail or an address: =C3=BC, %20", _DECODE.format("quopri, urllib.parse.unquote"), _NEVER
    ),
    "cut": Kind("Answers end after {} characters, within a sentence", _CUT, _NEVER, 0.01),
    "ellipsis": Kind("Answers end in an ellipsis, as what a program cut does", _CUT, _NEVER, 0.3),
    UNFILLED: Kind("Questions or answers hold a place that nothing filled in, such as {}", _FILL, _NEVER, 0.05),
    MOJIBAKE: Kind("Texts were decoded wrongly: they have signs such as Ã©, â€™ or �", _UTF8, 0.1),
}


def damage_of(messages: Sequence[dict[str, Any]]) -> Iterator[tuple[str, int]]:
    """Kinds of damage, but mojibake, with the message that shows them: the assistant's, and all that fill a cell."""
    before = ""
    for number, message in enumerate(messages):
        text = message["content"]
        if message["role"] == "assistant" and text and (kind := _of_answer(text, before)):
            yield kind, number
        if len(text) > _CELL // 2 and len(text.encode("utf-16-le", "surrogatepass")) == 2 * _CELL:
            yield "cell_limit", number
        before = text if message["role"] == "user" else ""


def _of_answer(answer: str, question: str) -> str:
    text = answer.strip()
    if not text.strip(_PUNCTUATION):
        return "error" if _ERROR.fullmatch(text) else "punctuation"
    if len(text) < 200 and (word := _WORDS.get(text) or (_ERROR.fullmatch(text) and "error")):
        return word
    return "question" if question and text == question.strip() else ""


def unfilled(document: dict[str, Any]) -> str:
    """The first place in a dialogue or a pair that was to be filled in, empty if there is none."""
    messages = [*document.get("input", document).get("messages", ()), *document.get("preferred_output", ())]
    text = "\n".join(message["content"] for message in messages if message["role"] != "tool")
    found = None if _CODE.hits(text) else _PLACES.search(text)
    return found[0] if found else ""


def is_coded(kind: str, text: str) -> bool:
    """Whether a text shows signs of `CODED` in prose, where nobody meant them."""
    string = _STRING.fullmatch(text)
    text = string[1] if string else text
    return not _MEANT.search(text) and _CODED[kind].search(_QUOTED.sub(" ", text)) is not None


def cut_end(answer: str) -> str:
    """The end of an answer that may have been cut: in or after a word, after a comma, or marked so. Empty of others."""
    last = answer[-1:]
    if not (last.isalpha() or last in " ,…" or answer[-3:] == "...") or last.isupper():
        return ""
    end = answer[-40:]
    return end if len(end) > 3 and (" " in end or not end.isascii()) else ""


class CutAnswers:
    """Of the answers of a part. Memory: a few row numbers for each length."""

    def __init__(self) -> None:
        self.lengths: Counter[int] = Counter()  # of all answers
        self._cut: Counter[int] = Counter()  # 0: those that end in an ellipsis
        self._first: defaultdict[int, list[tuple[int, str]]] = defaultdict(list)

    def add(self, number: int, length: int, end: str) -> None:
        """Take an answer of which `cut_end` gives an end. `length`: in characters."""
        self._cut[length] += 1
        first = self._first[length]
        if len(first) < MIN_ROWS:
            first.append((number, end))
        if end[-1] in ".…" and length:
            self.add(number, 0, end)

    def found(self) -> Iterator[tuple[str, int, list[int]]]:
        """Kinds of damage, how many answers have it, and some of their rows: lengths at which far more answers end, and
        in other words, than at those around; else ellipses."""
        cut = [length for length in self._cut if length >= _MIN_CUT and length != _CELL and self._is_limit(length)]
        for group in cut or [0] * (self._cut[0] >= MIN_ROWS):
            yield f"cut:{group}" if group else "ellipsis", self._cut[group], [row for row, _ in self._first[group]]

    def _is_limit(self, length: int) -> bool:
        count, ends = self._cut[length], {end[-4:] for _, end in self._first[length]}
        here, around = self.lengths[length], sum(self.lengths[length + by] for by in range(-8, 9))
        return count >= MIN_ROWS and count > max(around - here, 0.7 * here) and len(ends) > MIN_ROWS // 2


def finding_of(kind: str, count: int, rows: int, *, labels: bool) -> tuple[str, str, str] | None:
    """The code, detail and remedy of so many rows of a file; None if they are too few to report.

    `kind` may say more after a colon, for its words. `labels`: its answers are labels.
    """
    kind, _, more = kind.partition(":")
    found, share = KINDS[kind], count / rows if rows else 1
    if share < found.least or (kind == UNFILLED and count < MIN_ROWS):
        return None
    refused = count >= MIN_ROWS and share >= found.refused and not (labels and found.may_be_label)
    detail = f"{found.words.format(more)} ({count} of {rows} rows, {share:.1%})"
    return "damaged_file" if refused else DAMAGED, detail, found.remedy
