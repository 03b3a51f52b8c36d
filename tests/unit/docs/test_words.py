"""Words that were replaced stay away: as parts of names everywhere, and some of them in prose too."""

from __future__ import annotations

import re
import subprocess

from tests.paths import ROOT

# Retired word -> the field's word. As a part of a name in Python and JavaScript, in a constant or key such as
# "answers_asked", or in the name of a file. Names of tests are sentences, so these words may stand in them.
IN_NAMES = {
    "asked": "requested, prompt",
    "complaints": "console messages, errors",
    "duties": "obligations, tasks",
    "judged": "graded, evaluated, checked",
    "judging": "grading, llm_judge",
    "look": "poll, check",
    "looks": "polls, checks",
    "said": "message, output, text",
    "side": "split, output",
    "sides": "splits, outputs",
    "speaker": "role, sender",
    "speakers": "roles, senders",
    "told": "notified, reported",
    "wanted": "expected, requested, target",
}
# In names of tests, comments and documents too.
ANYWHERE = {
    "carve": "split",
    "carved": "split",
    "heard": "received",
    "hush": "silence",
    "folded": "merged, normalized",
    "mend": "fix",
    "mended": "fixed",
    "parted": "separated, split",
    "mute": "without a reference",
    "rival": "baseline",
    "story": "scenario",
    "stories": "scenarios",
    "stranger": "unauthenticated caller",
    "sweep": "scan, release",
    "sweeps": "scans, releases",
    "swept": "scanned, released",
    "tally": "result, measured",
    "twin": "copy, emulator",
    "unworthy": "fails the gate",
    "uttered": "requested",
    "wish": "request",
    "wishes": "requests",
    "worthy": "passes the gate",
}
# Names of other people's code, and of what is looked up.
NOT_OURS = frozenset({"padding_side", "looks_like_table"})
NOT_OURS_PARTS = ("look_up", "look_ups", "look_back", "Outside")
DATA = ("CHANGELOG.md", "local_stack/tiny_base/", "recipes/", "tests/unit/docs/test_words.py", "tests/golden/")
EARLIER_FORMS = ("shared/domain/upgrades.py",)
# Sentences of a corpus, and phrases that users write.
SENTENCES = ("tests/unit/shared/validation/content/labeled.py", "shared/validation/content/harmful.toml")

SOURCES = (".py", ".js", ".cjs", ".md", ".html", ".bicep", ".sh", ".yml", ".yaml", ".toml", "Makefile")
_STRING = r'"""[\s\S]*?"""|"(?:\\.|[^"\\\n])*"' + r"|'(?:\\.|[^'\\\n])*'|`[^`]*`"
_PYTHON = re.compile(rf"(?P<text>{_STRING}|#[^\n]*)|(?P<name>[A-Za-z_]\w*)")
_JAVASCRIPT = re.compile(rf"(?P<text>{_STRING}|//[^\n]*|/\*[\s\S]*?\*/)|(?P<name>[A-Za-z_$][\w$]*)")
_KEY = re.compile(r"""["']([a-z]+(?:_[a-z]+)+)["']""")
_PART = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_SUSPECT = re.compile("|".join(IN_NAMES), re.IGNORECASE)
_ANYWHERE = re.compile(rf"(?<![A-Za-z])(?:{'|'.join(ANYWHERE)})(?![a-z])", re.IGNORECASE)


def retired(name: str) -> list[str]:
    """Retired words of a name in snake or camel case; one of a test is a sentence."""
    if name in NOT_OURS or name.startswith("test_"):
        return []
    for part in NOT_OURS_PARTS:
        name = re.sub(part, "", name, flags=re.IGNORECASE)
    return [word for part in _PART.findall(name) if (word := part.lower()) in IN_NAMES]


def names_in(text: str, language: re.Pattern[str]) -> set[str]:
    """Names of the code, and texts that are a key or a code."""
    found = set()
    for match in language.finditer(text):
        key = _KEY.fullmatch(match["text"]) if match["text"] else None
        found.add(key[1] if key else match["name"] or "")
    return found


def findings(path: str, text: str) -> list[str]:
    """What is wrong with a file, with the words to use instead."""
    found = [f"{path}: {word}: use {ANYWHERE[word.lower()]}" for word in sorted(set(_ANYWHERE.findall(text)))]
    names = {path.rsplit("/", 1)[-1].partition(".")[0]}
    if path.endswith((".py", ".js", ".cjs")) and _SUSPECT.search(text):
        names |= names_in(text, _PYTHON if path.endswith(".py") else _JAVASCRIPT)
    return found + [f"{path}: {name}: use {IN_NAMES[word]}" for name in sorted(names) for word in retired(name)]


def test_no_retired_word_is_used() -> None:
    listed = subprocess.check_output(["git", "ls-files"], cwd=ROOT, text=True).split()
    paths = [
        name for name in listed if name.endswith(SOURCES) and not name.startswith((*DATA, *SENTENCES, *EARLIER_FORMS))
    ]
    assert len(paths) > 500
    files = {path: ROOT / path for path in paths}
    texts = {path: file.read_text(encoding="utf-8") for path, file in files.items() if file.exists()}
    assert [line for path, text in texts.items() for line in findings(path, text)] == []


def test_a_retired_word_is_found_in_every_kind_of_name() -> None:
    for code in ("wanted = 1", "def f(asked_key): ...", "class Asked: ...", "x.SAID", 'x["answers_asked"]'):
        assert len(findings("a.py", code)) == 1, code
    assert len(findings("a.js", "const cancelAsked = 1; // asked")) == 1
    assert findings("asked_for.md", "")
    assert findings("a.md", "A claim is swept.")
    assert findings("test_a.py", "def test_a_wish(): ...")
    for text in ("# asked", '"was asked"', "def test_it_is_asked(): ...", "outside = beside", "lookup = look_up_rows"):
        assert findings("a.py", text) == [], text
