"""Texts of all kinds, put together from pieces."""

from __future__ import annotations

from hypothesis import strategies as st

from tests.unit.shared.validation.content import labeled

SEED, SAMPLES = 20_261_125, 6_000
PIECES = st.lists(
    st.one_of(
        st.integers(0, 5_000).map(lambda seed: labeled.samples(seed, 1)[0].text),
        st.text("0123456789 -+.()@/:", max_size=24),
        st.text(max_size=8),
        st.sampled_from(
            [
                "SSN",
                "NHS ",
                "MRN: ",
                "DOB ",
                "[EMAIL_1]",
                "[SSN_2] ",
                "a@b.co",
                "born ",
                "call ",
                "patient ",
                "é",
                "\U0001f600",
            ]
        ),
    ),
    max_size=6,
).map("".join)
