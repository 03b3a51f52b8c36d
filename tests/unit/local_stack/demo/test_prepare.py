from __future__ import annotations

from pathlib import Path

import pytest

from local_stack.demo.prepare import DROP_ORDER, DemoFailed, drop, drops, fresh, recipe_folder
from shared.embedded.blobs import FileBlobStore


def test_the_folder_of_an_earlier_demo_is_wiped(tmp_path: Path) -> None:
    fresh(tmp_path / "demo")
    (tmp_path / "demo" / "state.db").touch()
    fresh(tmp_path / "demo")
    assert not (tmp_path / "demo" / "state.db").exists()


def test_an_unknown_recipe_is_refused_by_name() -> None:
    with pytest.raises(DemoFailed, match=r"ready recipes: .*manufacturing"):
        recipe_folder("no-such")


def test_a_recipe_for_a_real_base_model_names_what_runs_on_a_laptop() -> None:
    with pytest.raises(DemoFailed, match=r"for meta-llama/Llama-3\.1-8B-Instruct.*healthcare-small"):
        recipe_folder("healthcare")


def test_a_drop_leaves_the_recipes_files_and_nothing_else(tmp_path: Path) -> None:
    drop(recipe_folder("manufacturing"), FileBlobStore(tmp_path), "plant", "here")
    assert {path.name for path in (tmp_path / "datasets" / "plant").iterdir()} == set(DROP_ORDER)


def test_the_drops_of_a_recipe_replace_each_other_in_order(tmp_path: Path) -> None:
    parts = drops(recipe_folder("finance-small"))
    assert [part.name for part in parts] == ["finance-small", "2-reinforcement"]
    for part in parts:
        drop(part, FileBlobStore(tmp_path), "bank", "here")
    for name in DROP_ORDER:
        assert (tmp_path / "datasets" / "bank" / name).read_bytes() == (parts[-1] / name).read_bytes()
