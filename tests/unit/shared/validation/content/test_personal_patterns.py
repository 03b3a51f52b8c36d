"""The patterns of personal data and their triggers."""

from __future__ import annotations

import pytest
from hypothesis import given

from shared.validation.content import personal_data
from shared.validation.content.personal_data import find, find_by
from shared.validation.content.personal_patterns import DETECTORS
from tests.examples import examples
from tests.unit.shared.validation.content import labeled
from tests.unit.shared.validation.content.pieces import PIECES, SAMPLES, SEED


@examples(1_000)
@given(PIECES)
def test_no_detector_finds_what_its_trigger_does_not_let_through(text: str) -> None:
    let_through = personal_data.likely(personal_data._GATE.hits(text))
    for detector in DETECTORS:
        if detector not in let_through:
            assert list(detector.find(text)) == []


@pytest.mark.ci
def test_the_detectors_that_are_likely_find_what_all_of_them_would() -> None:
    texts = [sample.text for sample in labeled.samples(SEED, SAMPLES)]
    assert [find(text) for text in texts] == [find_by(DETECTORS, text) for text in texts]
