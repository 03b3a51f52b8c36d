from __future__ import annotations

import gc
import sys

import pytest

from training_job.job.processes import importing


def test_what_an_import_leaves_is_never_looked_at_for_garbage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)
    before = gc.get_freeze_count()
    with importing():
        assert not gc.isenabled()
        import colorsys  # noqa: F401
    assert gc.isenabled()
    assert gc.get_freeze_count() > before


def test_where_everything_was_imported_before_garbage_stays_garbage() -> None:
    before = gc.get_freeze_count()
    with importing():
        import gc as again  # noqa: F401
    assert gc.isenabled()
    assert gc.get_freeze_count() <= before  # some may have gone meanwhile


def test_an_import_that_fails_leaves_the_collector_at_work() -> None:
    with pytest.raises(ModuleNotFoundError), importing():
        import no_such_library  # type: ignore[import-not-found]  # noqa: F401
    assert gc.isenabled()
