"""Where canonical rows go, counted and hashed on the way."""

from __future__ import annotations

from hashlib import sha256

from shared.validation.rows import Extent
from shared.validation.sink import RowCounter, spooled_sink


def test_a_version_is_the_hash_of_both_files_and_what_was_written_is_read_from_the_start() -> None:
    with spooled_sink() as sink:
        counter = RowCounter(sink)
        for number in range(3):
            counter.write("train", b"row %d\n" % number)
        counter.write("eval", b"{}\n")
        counter.finish()
        train, held_out = sink.train.read(), sink.eval.read()
    assert (train, held_out) == (b"row 0\nrow 1\nrow 2\n", b"{}\n")
    assert counter.version() == sha256(sha256(train).digest() + sha256(held_out).digest()).hexdigest()


def test_means_maxima_and_bars_are_those_of_the_rows() -> None:
    with spooled_sink() as sink:
        counter = RowCounter(sink)
        for extent in (Extent(2, 40, 0), Extent(2, 60, 1), Extent(5, 500, 2)):
            counter.measure(extent)
            counter.write("train", b"{}\n")
        found = counter.statistics({"en": 3})
    assert (found.train_rows, found.eval_rows, found.languages) == (3, 0, {"en": 3})
    assert (found.messages_mean, found.characters_mean, found.extra_bytes_mean) == (3.0, 200.0, 1.0)
    assert found.characters_max == 500
    assert dict(zip(found.messages_per_row.edges, found.messages_per_row.counts, strict=True)) == {
        2: 2,
        3: 0,
        4: 0,
        5: 1,
    }
    bars = dict(zip(found.characters_per_row.edges, found.characters_per_row.counts, strict=True))
    assert bars == {50: 1, 100: 1, 200: 0, 500: 1}


def test_without_a_row_there_is_no_mean() -> None:
    with spooled_sink() as sink:
        found = RowCounter(sink).statistics({})
    assert (found.train_rows, found.messages_mean, found.characters_per_row.counts) == (0, 0.0, ())


def test_held_out_rows_are_the_same_in_any_order_and_with_other_columns_but_not_with_another_row() -> None:
    def of(*rows: bytes) -> str:
        with spooled_sink() as sink:
            counter = RowCounter(sink)
            for row in rows:
                counter.write("eval", row)
            counter.write("train", b"{}")
            return counter.eval_sha256()

    one, two = b'{"messages":[1]}', b'{"messages":[2]}'
    assert of(one, two) == of(two, b'{"messages":[1],"item":{"by":"x"}}')
    assert len({of(one), of(two), of(one, one), of(one, two), of(one, one, two), of()}) == 6
