"""The recipe and the held-out set that belong to a dataset."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from dataclasses import replace

import pytest

from shared.ports import BlobInfo, Services
from shared.step_support.dataset_files import held_out_file, held_out_files, recipe_file, recipe_files

TRAIN = "datasets/shop/march/train.jsonl"
ROWS = b'{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}\n'


def put(services: Services, *names: str, content: bytes = ROWS) -> None:
    for name in names:
        services.blobs.write(f"datasets/{name}", [content])


def held_out(services: Services) -> str | None:
    found = held_out_file(TRAIN, services)
    return found.path.removeprefix("datasets/shop/") if found else None


@pytest.mark.parametrize(
    "name", ["recipe.yml", "Recipe.yaml", "RECIPE.YML", "recipe-dpo.yaml", "recipe.yaml.txt", "recipe.json"]
)
def test_a_recipe_is_found_whatever_its_capitals_and_ending(services: Services, name: str) -> None:
    put(services, f"shop/{name}")
    found = recipe_file(TRAIN, services)
    assert found is not None
    assert found.path == f"datasets/shop/{name}"


def test_all_recipes_of_the_nearest_folder_are_found_and_no_others(services: Services) -> None:
    put(services, "shop/recipe.yaml", "shop/april/recipe.yml", "shop/recipes.jsonl", "other/recipe.yaml")
    assert [each.path for each in recipe_files(TRAIN, services)] == ["datasets/shop/recipe.yaml"]
    put(services, "shop/march/Recipe.yaml", "shop/march/recipe.yml", "shop/march/recipe.yaml.swp")
    names = [each.path.rsplit("/")[-1] for each in recipe_files(TRAIN, services)]
    assert names == ["recipe.yml", "Recipe.yaml"]


def what_is_listed(services: Services, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Paths that the store has listed from now on, as far as each listing was read."""
    seen, listed = services.blobs.list, list[str]()

    def listing(prefix: str) -> Iterator[BlobInfo]:
        for blob in seen(prefix):
            listed.append(blob.path)
            yield blob

    monkeypatch.setattr(services.blobs, "list", listing)
    return listed


def test_training_files_are_not_listed_for_held_out_ones(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    """There may be any number of them."""
    put(services, *(f"shop/{name}" for name in ("train-1.jsonl", "Train-2.jsonl", "TRAIN.csv", "tEST.jsonl")))
    listed = what_is_listed(services, monkeypatch)
    assert held_out(services) == "tEST.jsonl"
    assert listed == ["datasets/shop/tEST.jsonl"]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("Validation.CSV",), "Validation.CSV"),
        (("test.jsonl", "dev.jsonl", "validation.jsonl"), "validation.jsonl"),
        (("validation.jsonl", "eval-2.jsonl", "Eval-1.jsonl"), "Eval-1.jsonl"),
        (("test.jsonl", "march/TEST.jsonl"), "march/TEST.jsonl"),
        (("holdout.jsonl",), "holdout.jsonl"),
        (("Held_Out.csv", "Testdaten.csv"), "Testdaten.csv"),
        (("Validierung.csv",), "Validierung.csv"),
        (("devices.jsonl", "eval.jsonl.part", "test.py", "march/april/eval.jsonl", "eval/train.jsonl"), None),
    ],
)
def test_the_held_out_file_is_found_by_its_name(
    services: Services, names: tuple[str, ...], expected: str | None
) -> None:
    put(services, *(f"shop/{name}" for name in names))
    assert held_out(services) == expected


@pytest.mark.parametrize(
    ("content", "is_data"),
    [
        (ROWS, True),
        (gzip.compress(ROWS, mtime=0), True),
        (b"question,answer\na,b\n", True),
        (b"Notes: the model of March, as asked, is better.\n", False),
        (b"", False),
        (b"\xff\xfe\x00", False),
    ],
)
def test_a_text_file_is_held_out_data_only_if_it_holds_rows(services: Services, content: bytes, is_data: bool) -> None:
    put(services, "shop/eval_notes.txt", content=content)
    assert held_out(services) == ("eval_notes.txt" if is_data else None)
    put(services, "shop/test.jsonl")
    assert held_out(services) == ("eval_notes.txt" if is_data else "test.jsonl")


def test_no_more_of_text_files_is_read_than_a_function_reads(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    limited = replace(services, config=replace(services.config, inline_validation_max_bytes=1000))
    read, opened = services.blobs.read, list[tuple[str, str | None]]()

    def reading(path: str, *, etag: str | None = None) -> Iterator[bytes]:
        opened.append((path.rpartition("/")[2], etag))
        return read(path, etag=etag)

    monkeypatch.setattr(services.blobs, "read", reading)
    notes = b"These are notes. " * 1000
    for name, content in {"eval-3.txt": notes, "eval-2.txt.gz": gzip.compress(notes), "eval-1.txt": ROWS}.items():
        info = services.blobs.write(f"datasets/shop/{name}", [content])
        opened.clear()
        assert held_out(limited) == name, "what is larger is taken for rows, and the job reads it"
        assert set(opened) == (set() if name == "eval-3.txt" else {(name, info.etag)})


def test_no_list_of_files_grows_with_a_folder(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    put(services, *(f"shop/recipe-{n}.yaml" for n in range(12)), *(f"shop/eval-{n}.jsonl" for n in range(101)))
    listed = what_is_listed(services, monkeypatch)
    assert (len(recipe_files(TRAIN, services)), len(listed)) == (10, 10)
    assert len(list(held_out_files(TRAIN, services))) == 100


def test_nothing_lies_beside_a_file_in_the_root_of_the_container(services: Services) -> None:
    put(services, "recipe.yaml", "eval.jsonl", "evaluation/train.jsonl")
    assert recipe_files("datasets/train.jsonl", services) == []
    assert held_out_file("datasets/train.jsonl", services) is None
