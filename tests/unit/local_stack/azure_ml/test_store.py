"""Documents, metrics and events of the emulator in its file."""

from __future__ import annotations

from pathlib import Path

import pytest

from local_stack.azure_ml.store import WorkspaceStore


def test_documents_come_in_the_order_they_were_first_put_and_survive_the_process(tmp_path: Path) -> None:
    store = WorkspaceStore(tmp_path / "db")
    for name, number in (("b/1", 1), ("a/1", 2), ("b/2", 3), ("b/1", 4)):
        store.put("job", name, {"n": number})
    store.put("model", "b/3", {"n": 5})
    store.delete("job", "b/2")
    store.close()
    again = WorkspaceStore(tmp_path / "db")
    assert again.names("job") == ["b/1", "a/1"]
    assert again.all("job", "b/") == [{"n": 4}]
    assert (again.get("job", "b/2"), again.get("model", "b/3")) == (None, {"n": 5})
    again.close()


def test_a_transaction_that_fails_inside_another_leaves_nothing_of_both(tmp_path: Path) -> None:
    store = WorkspaceStore(tmp_path / "db")

    def write_both_and_fail() -> None:
        with store.transaction():
            store.put("job", "outer", {})
            with store.transaction():
                store.put("job", "inner", {})
                raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_both_and_fail()
    assert store.names("job") == []
    store.close()


def test_points_of_a_curve_are_read_in_pages_in_the_order_logged(tmp_path: Path) -> None:
    store = WorkspaceStore(tmp_path / "db")
    for step in (3, 1, 2):
        store.add_metric("run", "loss", step / 2, step, 1000 + step)
    store.add_metric("run", "other", 9.0, 1, 1)
    first = store.metrics("run", "loss", 0, 2)
    rest = store.metrics("run", "loss", first[-1][0], 2)
    assert [point["step"] for _, point in (*first, *rest)] == [3, 1, 2]
    store.close()
