"""The content scan on rows of three kinds, and what share of its time each detector takes.

The target is 60 microseconds for a row of about 500 characters on one core.
"""

import random
import time
from collections.abc import Callable, Iterable
from functools import partial
from importlib.util import find_spec
from typing import Any

from benchmarks.measure import Figure, load, seconds
from shared.domain.findings import Findings, Place
from shared.domain.recipe import Data
from shared.validation.codes import CONTENT_CODES
from shared.validation.content import injection, personal_data, secrets
from shared.validation.content.near_duplicates import Index, key_of, sketch
from shared.validation.content.pattern_set import PatternSet
from shared.validation.content.quality import Quality, asks_for_fact
from shared.validation.content.scan import ContentScan

ROWS = 5_000
ROUNDS = 3
TARGET_US = 60
PRESIDIO, DATATROVE = "Presidio, default recognizers, no model", "datatrove PIIFormatter"
Messages = list[dict[str, Any]]


WORDS = """the patient pump was checked and found in good order after she had reported pain at night we thank you for
your letter of last week about the claim bearing temperature vibration line valve pressure seal oil level normal report
policy insured damage water kitchen estimate repair please confirm next visit blood test result doctor nurse ward mild
left right knee hip shoulder treatment plan continue reduce increase daily dose tablet motor belt conveyor sensor alarm
operator shift replaced cleaned greased tightened measured value limit within outside range action required no further
""".split()  # noqa: SIM905


def plain_text(chance: random.Random, words: int) -> str:
    return " ".join(chance.choices(WORDS, k=words))


def numbered_text(chance: random.Random, words: int) -> str:
    """Every sixth word is a number: readings, codes, times."""
    return " ".join(_number(chance) if chance.random() < 1 / 6 else chance.choice(WORDS) for _ in range(words))


def _number(chance: random.Random) -> str:
    kind = chance.randrange(5)
    if kind == 0:
        return str(chance.randint(1, 999))
    if kind == 1:
        return f"{chance.randint(0, 23):02}:{chance.randint(0, 59):02}"
    if kind == 2:
        return f"{chance.random() * 100:.2f}"
    return (
        f"PN-{chance.randint(10_000, 99_999)}"
        if kind == 3
        else f"2024-{chance.randint(10, 12)}-{chance.randint(10, 28)}"
    )


def personal_text(chance: random.Random, words: int) -> str:
    """As above, with an address, a telephone number and a date of birth."""
    address, phone = f"name{chance.randint(1, 99_999)}@example.com", f"+44 20 7946 {chance.randint(1000, 9999)}"
    return f"{numbered_text(chance, words - 8)} {address}, tel. {phone}, DOB 12/03/{chance.randint(1930, 2005)}"


KINDS: dict[str, Callable[[random.Random, int], str]] = {
    "plain rows": plain_text,
    "rows with numbers": numbered_text,
    "rows with personal data": personal_text,
}


def rows_of(kind: str, count: int) -> list[Messages]:
    """Chat rows of about 500 characters: a system message, a question, an answer."""
    chance = random.Random(29)
    text = KINDS[kind]
    return [
        [
            {"role": "system", "content": "You answer letters of the claims department in plain words."},
            {"role": "user", "content": text(chance, chance.randint(25, 45))},
            {"role": "assistant", "content": text(chance, chance.randint(25, 45))},
        ]
        for _ in range(count)
    ]


def run(rows: int = ROWS) -> list[Figure]:
    """Microseconds of processor time a row, the best of three rounds."""
    found: list[Figure] = []
    for kind in KINDS:
        data = rows_of(kind, rows)
        for policy in ("block", "redact") if kind == "rows with personal data" else ("block",):
            took = _best(partial(_scan, data, policy)) / rows
            length = sum(len(message["content"]) for row in data for message in row) // rows
            note = f"target {TARGET_US}; {length} characters, {1 / took:,.0f} rows/s"
            found.append(Figure(f"content scan, {kind}, {policy}", took * 1e6, "us/row", "lower", note=note))
    mixed = [row for kind in KINDS for row in rows_of(kind, rows // len(KINDS))]
    whole = _best(lambda: _scan(mixed, "block"))
    for name, work in _parts(mixed).items():
        took = _best(work)
        found.append(
            Figure(f"part: {name}", took / len(mixed) * 1e6, "us/row", "lower", note=f"{took / whole:.0%} of the scan")
        )
    return found + [figure for make in (_beside_presidio, _beside_datatrove) if (figure := make(mixed[::5]))]


def _beside_presidio(data: list[Messages]) -> Figure | None:
    """Personal data alone, on the same texts; None if Presidio is not installed. Its tokenizer is spaCy's, which needs
    no model, so neither of the two looks for names."""
    if find_spec("presidio_analyzer") is None:
        return None
    import tldextract  # type: ignore[import-not-found]

    tldextract.extract = tldextract.TLDExtract(suffix_list_urls=())  # the list in the package: nothing is fetched
    import spacy  # type: ignore[import-not-found]
    from presidio_analyzer import AnalyzerEngine  # type: ignore[import-not-found]
    from presidio_analyzer.nlp_engine import SpacyNlpEngine  # type: ignore[import-not-found]

    tokenizer = SpacyNlpEngine()
    tokenizer.nlp = {"en": spacy.blank("en")}
    analyzer = AnalyzerEngine(nlp_engine=tokenizer, supported_languages=["en"])
    return _beside("personal data", PRESIDIO, data, personal_data.find, lambda text: analyzer.analyze(text, "en"))


def _beside_datatrove(data: list[Messages]) -> Figure | None:
    """E-mail and IP addresses redacted; None if datatrove is not installed."""
    if find_spec("datatrove") is None:
        return None
    from datatrove.pipeline.formatters import PIIFormatter  # type: ignore[import-not-found]

    redactor = personal_data.Redactor()
    name, theirs = "personal data of all types, redacted", PIIFormatter().format
    return _beside(name, DATATROVE, data, lambda text: redactor.redact_all([text]), theirs)


def _each(work: Callable[[str], object], texts: list[str]) -> None:
    for text in texts:
        work(text)


def _beside(
    name: str, baseline: str, data: list[Messages], ours: Callable[[str], object], theirs: Callable[[str], object]
) -> Figure:
    texts = ["\n".join(message["content"] for message in row) for row in data]
    works = [partial(_each, work, texts) for work in (ours, theirs)]
    rounds = [[_best(work, 1) for work in works] for _ in range(ROUNDS)]
    speeds = [[len(texts) / seconds for seconds in times] for times in rounds]
    spread = ", ".join(f"{one:,.0f} and {other:,.0f}" for one, other in speeds)
    best, best_other = map(max, zip(*speeds, strict=True))
    return Figure(name, best, "rows/s", "higher", baseline, best_other, f"{spread} in {ROUNDS} rounds, load {load()}")


def _scan(data: list[Messages], policy: Any) -> None:
    scan = ContentScan(Findings(CONTENT_CODES), Data(personal_data=policy))
    for number, messages in enumerate(data, start=1):
        place = Place("train", number)
        document = scan.read(place, {"messages": messages, "item": {}})
        dialogue = scan.rows.dialogue(document["messages"], None, has_answer=True, held_out=False)
        scan.place(place, dialogue, number)
    scan.finish()


def _best(work: Callable[[], object], rounds: int = ROUNDS) -> float:
    return min(seconds(work, time.thread_time) for _ in range(rounds))


def _parts(data: list[Messages]) -> dict[str, Callable[[], object]]:
    """Each part of the scan on the same rows, on what the parts before it let through."""
    texts = ["\n".join(message["content"] for message in row[1:]) for row in data]
    words = [text.lower().split() for text in texts]
    gate = PatternSet({**personal_data.TRIGGERS, **secrets.TRIGGERS, **injection.TRIGGERS})
    hits = [gate.hits(text) for text in texts]
    likely = [(personal_data.likely(hit), text) for text, hit in zip(texts, hits, strict=True)]
    keys = [hit & secrets.TRIGGERS.keys() for hit in hits]
    return {
        "gate (RE2)": lambda: [gate.hits(text) for text in texts],
        "personal data": lambda: [personal_data.find_by(some, text) for some, text in likely if some],
        "secrets": lambda: [secrets.find(text, frozenset(hit)) for text, hit in zip(texts, keys, strict=True) if hit],
        "near copies": lambda: _near_copies(words),
        "quality": lambda: _quality(data),
    }


def _near_copies(words: Iterable[list[str]]) -> None:
    index = Index()
    for number, row in enumerate(words, start=1):
        drawn = sketch(row, 0)
        if index.match(drawn) is None:
            index.add(drawn, number)


def _quality(data: list[Messages]) -> None:
    quality = Quality()
    for number, row in enumerate(data):
        prompt, answer = row[1]["content"], row[2]["content"]
        is_fact, size = asks_for_fact(prompt, answer), len(prompt) + len(answer)
        quality.add(number, is_fact, key_of(prompt), key_of(answer), size)
