"""Text that was destroyed on its way into the file: what programs write for no value, wrong decoding, cut cells."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

DAMAGED, MOJIBAKE = "damaged_text", "mojibake"
MIN_ROWS = 5  # of fewer rows the file is never refused, whatever their share
_CELL = 32_767  # UTF-16 code units that a cell of Excel holds (Microsoft, "Excel specifications and limits")
_WORDS = {
    **dict.fromkeys(("NaN", "nan", "NAN", "null", "NULL", "undefined", "<NA>", "NaT", "\\N", "nil"), "no_value"),
    **dict.fromkeys(("None", "none", "NONE", "N/A", "n/a", "NA", "n.a.", "N.A."), "none"),
}
_ERROR = re.compile(r"#(?:N/A|NV|GETTING_DATA|[A-ZÀ-Ý0-9_/]{2,20}[!?]|##+)|(?:\[object \w+\][\s,]*)+")
_PUNCTUATION = " \t\r\n.,;:!?…-–—_'\"“”‘’*•·´`~/\\|#"  # noqa: RUF001

# UTF-8 that was read as Windows-1252: accents, quotation marks and emoji; letters of Central Europe, words of other
# alphabets and of East Asia; as Mac Roman; what no reader could decode. Signs that may follow a capital do not count.
_LAST_BYTE = "[\x80-\xbf" + "".join(bytes([byte]).decode("cp1252", "ignore") for byte in range(0x80, 0xA0)) + "]"
MOJIBAKE_PATTERN = "|".join(
    (
        "Ã[\x80-\x9f¡-¶¸-º¼-¿€‚ƒ„†‡ˆ‰Š‹ŒŽ–˜™š›œžŸ]|Â[\xa0-º¼-¿]|â[€‚„†]|ðŸ",  # noqa: RUF001
        f"[ÄÅ][‚›¼º„‡™…Ÿ±°¡¾]|(?:[Ä-ß]{_LAST_BYTE}){{2}}|(?:[à-ï]{_LAST_BYTE}{{2}}){{2}}",  # noqa: RUF001
        "√[©º∂§ü†®ñ]|‚Ä[ôúùìîò¶]|\ufffd",  # noqa: RUF001
    )
)


class Kind(NamedTuple):
    """`least` and `refused`: shares of rows from which it is reported, and from which the file is refused."""

    words: str
    remedy: str
    refused: float
    least: float = 0
    may_be_label: bool = False  # never an error where the answers are labels


_EXPORT = "Correct it at its source and export the file again, or remove the rows"
_UTF8 = "Save the source as UTF-8 again; where � stands, the character is lost"
KINDS = {
    "no_value": Kind("Answers are a word for no value, such as NaN, null or undefined", _EXPORT, 0.5, 0, True),
    "none": Kind("Answers are None, N/A or the like", "If no answer was known, remove the rows", 0.9, 0, True),
    "error": Kind("Answers are an error of a program, such as #REF!, #N/A or [object Object]", _EXPORT, 0.1),
    "punctuation": Kind("Answers are nothing but punctuation", "Write the answer, or remove the rows", 0.5, 0, True),
    "question": Kind("Answers repeat the question word for word", "See whether two columns are the same", 0.5, 0.05),
    "cell_limit": Kind("Texts have 32,767 characters, where Excel cuts a cell", "Export the file without Excel", 0.1),
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


def finding_of(kind: str, count: int, rows: int, *, labels: bool) -> tuple[str, str, str] | None:
    """The code, detail and remedy of so many rows of a file; None if they are too few to report.

    `labels`: its answers are labels.
    """
    found, share = KINDS[kind], count / rows if rows else 1
    if share < found.least:
        return None
    refused = count >= MIN_ROWS and share >= found.refused and not (labels and found.may_be_label)
    detail = f"{found.words} ({count} of {rows} rows, {share:.1%})"
    return "damaged_file" if refused else DAMAGED, detail, found.remedy
