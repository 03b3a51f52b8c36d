"""Names and types of fields and keys as a report may show them: it quotes no row, and a name may be text of one."""

import re
from typing import Any

OTHER_NAMES = "fields whose names are not shown"
NAMES_MAX = 32  # of one file and kind of finding; the others are counted together
# Words that programs write for no value; in the answers of people the second ones may be meant.
NO_VALUE = frozenset("NaN nan NAN null NULL undefined <NA> NaT \\N nil <noinput> <nooutput>".split())  # noqa: SIM905
NONE = frozenset("None none NONE N/A n/a NA n.a. N.A.".split())  # noqa: SIM905
# Where a model of images or speech reads them (LLaVA, MMMU, Qwen-VL, Gemma). HTML has such tags too, and closes them.
PLACEHOLDER = (
    r"(?im)^\s*<(image|audio|video)s?>|<(image|audio|video)s?>\s*$|<start_of_(image|audio|video)>|<img>[^<>\n]+</img>"
    r"|<(image|audio|video)[ _-]?(\d+|placeholder|soft_token)>|\[(?-i:IMG|IMAGE|AUDIO|VIDEO)\]|!\[[^\n]*\]\(data:image"
)
EMPTY: tuple[Any, ...] = (None, "", [], {})  # values that say nothing
_CHARACTERS = 40
_NAME = re.compile(r"[^\W\d][\w./()-]*(?: \(?[^\W\d][\w./()-]*){0,3}")
_JSON_KINDS = {str: "text", **dict.fromkeys((int, float), "a number"), bool: "true or false"}
_JSON_KINDS |= {list: "a list", dict: "an object"}
_DIGITS = re.compile(r"\d{4}")


def shown(name: str) -> str:
    """The name, if it is like a column's; `OTHER_NAMES` if it may be text of a row."""
    fits = len(name) <= _CHARACTERS and _NAME.fullmatch(name) and not _DIGITS.search(name)
    return name if fits else OTHER_NAMES


class FewNames:
    """Names as they are, up to `NAMES_MAX` of them."""

    def __init__(self) -> None:
        self._names: set[str] = set()

    def __call__(self, name: str) -> str:
        if len(self._names) < NAMES_MAX:
            self._names.add(name)
        return name if name in self._names else OTHER_NAMES


class Refused(Exception):
    """The row cannot be converted; `code` is one of `CODES`, with what it says after a `|`."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


def wrong_type(name: str, value: Any, expected: str = "text") -> str:
    """The code `data_type` with what has the wrong type; `name` is one that a format knows, never a row's own."""
    return f"data_type|{name} is {_JSON_KINDS.get(type(value), 'null')}, not {expected}"
