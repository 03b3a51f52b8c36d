"""What is counted of the rows that are kept."""

from __future__ import annotations


def test_statistics_count_the_characters_of_the_rows_that_are_kept(check, rows) -> None:
    long = {
        "messages": [
            {"role": "user", "content": "x" * 500},
            {"role": "user", "content": "é"},
            {"role": "assistant", "content": "y" * 10},
        ]
    }
    statistics = check(rows(60, long, b"broken"), rows(20, start=100)).result.report.statistics
    assert (statistics.train_rows, statistics.characters_max) == (61, 511)
    assert statistics.messages_mean == round((80 * 2 + 3) / 81, 3)
