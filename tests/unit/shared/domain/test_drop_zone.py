"""What a name in the drop zone means."""

from __future__ import annotations

import pytest

from shared.domain.drop_zone import Role, held_out_rank, role_of, starts_a_run

NAMES = {
    Role.RECIPE: (
        "recipe.yaml",
        "recipe.yml",
        "Recipe.yaml",
        "RECIPE.YML",
        "recipe.YAML",
        "recipe-dpo.yaml",
        "recipe (1).yaml",
        "recipe_v2.yml",
        "recipe.yaml.txt",
        "Recipe.yml.txt",
        "recipe.yaml.gz",
        "recipe.yaml.1",
        "recipe.json",
        "recipe-dpo.json",
        "recipe (1).json",
        "recipe.txt",
        "recipe",
        "recipe.toml",
    ),
    Role.HELD_OUT: (
        *(f"{word}.jsonl" for word in ("eval", "evals", "evaluation", "val", "valid", "validation", "dev", "test")),
        *(f"{word}.csv" for word in ("Eval", "VALIDATION", "Valid", "DEV", "Test", "TESTS")),
        "eval-2026.jsonl",
        "eval_v2.jsonl.gz",
        "eval2.jsonl",
        "validation_set.parquet",
        "validationset.jsonl",
        "test set.xlsx",
        "testset.tsv",
        "testing.json",
        "test-00000-of-00001.parquet",
        "dev.ndjson",
        "devset.jsonl",
        "devtest.jsonl",
        "development.jsonl",
        "eval",
        "eval.v2",
        "eval.unknown",
        "eval_notes.txt",  # its content decides
        "evaluation.arrow",
        "Test.JSONL",
        "test_cases.jsonl",
        *(
            f"{word}.jsonl"
            for word in ("holdout", "held_out", "heldout", "hold-out", "Hold Out", "HELD-OUT", "holdouts")
        ),
        *(f"{word}.csv" for word in ("holdout_set", "held-out-2026", "heldoutdata")),
        *(f"{word}.csv" for word in ("Testdaten", "Testdatensatz", "Testdatens\u00e4tze", "Test-Daten", "Evaluierung")),
        *(f"{word}.csv" for word in ("Validierung", "Validierungsdaten", "Evaluationsdaten", "Validierungsdatensatz")),
    ),
    Role.NOTHING: (
        *("CON", "con.txt", "nul", "AUX.tar", "com1", "LPT9.part1"),
        "README",
        "README.md",
        "readme.txt",
        "ReadMe.jsonl",
        "_SUCCESS",
        "_committed_5612",
        "_temporary",
        ".DS_Store",
        "._train.jsonl",
        ".train.jsonl.swp",
        ".azDownload-0a1b2c3d-train.jsonl",
        "train.jsonl.crdownload",
        "train.jsonl.CRDOWNLOAD",
        "train.jsonl.part",
        "train.jsonl.partial",
        "train.jsonl.filepart",
        "train.jsonl.tmp",
        "train.tmp",
        "train.jsonl.swp",
        "train.jsonl~",
        "~$train.xlsx",
        "#train.jsonl#",
        "train.jsonl._COPYING_",
        "train.jsonl.bak",
        "eval.jsonl.part",
        "recipe.yaml~",
        "recipe.yaml.swp",
        ".recipe.yaml",
        "Thumbs.db",
        "desktop.ini",
        "notes.md",
        "test_report.pdf",
        "test.py",
        "evaluation.ipynb",
        "dev.yaml",
        "dataset_info.json",
        "dataset_infos.json",
        "dataset_dict.json",
        "state.json",
        "LICENSE",
        "LICENSE.txt",
        "Licence-CC-BY.txt",
        "COPYING",
        "NOTICE",
        "train.jsonl.sha256",
        "train.jsonl.md5",
        "eval.jsonl.sha512",
        "recipe.yaml.sha256",
        "train.jsonl.asc",
        "CHECKSUMS",
        "checksums.txt",
        "SHA256SUMS",
        "md5sum.txt",
        "train.jsonl.azDownload-1f2e",
        "train.jsonl.azDownload",
        "",
    ),
    Role.TRAINING: (
        *("con.jsonl", "contracts", "aux.csv.gz", "com", "console.txt", "nulls.jsonl"),
        "train.jsonl",
        "Train.JSONL",
        "TRAIN.CSV",
        "train.tsv",
        "train",
        "part-00000.jsonl",
        "data.parquet",
        "devices.jsonl",
        "developers.jsonl",
        "testimonials.jsonl",
        "evaluators.jsonl",
        "validators.csv",
        "values.jsonl",
        "my_test.jsonl",
        "notes.txt",
        "recipes.jsonl",
        "recipe.jsonl",
        "recipe.csv",
        "recipes.json",
        "recipes.txt",
        "recipebook.json",
        "licenses.jsonl",
        "license_questions.csv",
        "notices.json",
        "checksum-errors.jsonl",
        "statement.json",
        "states.json",
        "holdings.csv",
        "held.jsonl",
        "Testament.csv",
        "Testdatenbank.csv",
        "config.yaml",
    ),
}


@pytest.mark.few_cases(3)
@pytest.mark.parametrize(("role", "name"), [(role, name) for role, names in NAMES.items() for name in names])
def test_a_name_in_a_project_has_this_role(role: Role, name: str) -> None:
    for folder in ("shop", "shop/march", "Shop/March 2026"):
        assert role_of(f"datasets/{folder}/{name}") is role
        assert starts_a_run(f"datasets/{folder}/{name}") == (role is Role.TRAINING)


@pytest.mark.few_cases(3)
@pytest.mark.parametrize("name", [name for role in NAMES if role is not Role.NOTHING for name in NAMES[role]])
def test_in_the_root_of_the_container_every_file_of_a_dataset_is_misplaced_and_gets_an_answer(name: str) -> None:
    assert role_of(f"datasets/{name}") is Role.MISPLACED
    assert not starts_a_run(f"datasets/{name}")


@pytest.mark.parametrize("name", NAMES[Role.NOTHING])
def test_what_is_nothing_is_nothing_in_the_root_too(name: str) -> None:
    assert role_of(f"datasets/{name}") is Role.NOTHING


@pytest.mark.parametrize("folder", ["_jobs", "_delta_log", "shop/_jobs/1", ".git", "shop/.ipynb_checkpoints"])
@pytest.mark.parametrize("name", ["train.jsonl", "recipe.yaml", "eval.jsonl"])
def test_folders_of_the_api_and_hidden_ones_start_nothing(folder: str, name: str) -> None:
    assert role_of(f"datasets/{folder}/{name}") is Role.NOTHING


def test_of_several_held_out_files_those_for_choosing_a_model_come_first() -> None:
    ranks = [
        held_out_rank(name)
        for name in ("eval.jsonl", "validation.jsonl", "dev.csv", "TEST.jsonl", "holdout.csv", "a.csv")
    ]
    assert ranks == [0, 1, 2, 3, 4, None]
