"""The import job: what it refuses, and the bundle it leaves. Without torch, on a folder of the catalog's shapes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer

from shared.domain.catalog import offer, own_base_option
from shared.domain.errors import FailureClass
from shared.rendering.bundle import export_bundle
from tests.unit.shared.domain.own_base import ENTRY
from tests.unit.shared.rendering import families
from tests.unit.training_job.imported import left, refusal, run
from tests.unit.training_job.tiny_folder import TINY, write_folder
from training_job.job import runtime


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "asset" / "model")


def test_a_base_model_as_the_catalog_has_it_leaves_its_bundle_and_what_its_license_asks(
    base: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, result = run(base)
    assert (code, result.status, result.problem) == (0, "completed", None)
    assert left(base) == export_bundle(TINY, base)
    output = capsys.readouterr().out
    assert f"license {TINY.terms.id}: {TINY.terms.obligations[0]}" in output
    assert "exported: tokenizer.json, tokenizer_config.json, chat_template.jinja, bundle.json" in output


def test_a_base_model_of_the_tenants_own_is_imported_as_its_entry_says(base: Path) -> None:
    offer([ENTRY])
    option = own_base_option(ENTRY.id).removeprefix(" --own-base=")
    offer([])  # the job's image knows nothing of it
    code, result = run(base, ENTRY.id, option)
    assert (code, result.problem) == (0, None)
    assert left(base) == export_bundle(ENTRY, base)
    offer([ENTRY.model_copy(update={"parameters": 7})])
    option = own_base_option(ENTRY.id).removeprefix(" --own-base=")
    code, result = run(base, ENTRY.id, option)
    assert result.problem is not None
    assert (code, result.problem.code) == (runtime.EXIT_CODES[FailureClass.RECIPE], "base_model_unfit")
    assert result.problem.message == "the weights are 565888 parameters, the catalog says 7"


def test_imported_again_an_equal_bundle_is_left_alone_and_another_replaces_it_whole(
    base: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(base)
    manifest = base.parents[1] / "bundle" / "bundle.json"
    first = manifest.stat()
    assert run(base)[0] == 0
    assert "unchanged" in capsys.readouterr().out
    assert manifest.stat().st_mtime_ns == first.st_mtime_ns

    template = (base / "chat_template.jinja").read_text()
    (base / "chat_template.jinja").unlink()
    (base / "tokenizer_config.json").write_text(json.dumps({**families.NAMED["qwen"], "chat_template": template}))
    assert run(base)[0] == 0
    assert left(base) == export_bundle(TINY, base)
    assert "chat_template.jinja" not in left(base), "a file that is no longer the model's goes"


def test_the_manifest_is_gone_before_a_file_changes_and_comes_back_last(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(base)
    (base / "chat_template.jinja").write_text(families.template("phi", marked=True))
    replaced: list[tuple[str, bool]] = []
    replace = Path.replace

    def noted(self: Path, target: Path) -> Path:
        if target.parent.name == "bundle":
            replaced.append((target.name, (target.parent / "bundle.json").exists()))
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", noted)
    assert run(base)[0] == 0
    names = ["tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "bundle.json"]
    assert replaced == [(name, False) for name in names]


def test_a_model_that_its_registry_keeps_in_parts_is_imported_as_one(base: Path) -> None:
    whole = export_bundle(TINY, base)
    asset = base.parent
    parts = {"model": ["model.safetensors", "config.json"], "tokenizer": list(whole)[:-1]}
    for part, names in parts.items():
        (asset / "data" / part).mkdir(parents=True)
        for name in names:
            (base / name).rename(asset / "data" / part / name)
    base.rmdir()
    assert run(base)[0] == 0
    assert left(base) == whole


def test_a_tokenizer_with_more_tokens_than_the_model_is_refused(base: Path) -> None:
    tokenizer = Tokenizer.from_file(str(base / "tokenizer.json"))
    tokenizer.add_tokens([f"<|extra {n}|>" for n in range(TINY.dims.vocab)])
    (base / "tokenizer.json").write_text(tokenizer.to_str())
    assert f"the model only {TINY.dims.vocab}" in refusal(base)


ADDED = {"content": "<sep>", "__type": "AddedToken"}
NAMING: dict[str, dict[str, Any]] = {
    "pad_token": {"pad_token": "<sep>"},
    "mask_token": {"mask_token": ADDED},
    "additional_special_tokens": {"additional_special_tokens": ["<|im_end|>", "<sep>"]},
    "as an object": {"additional_special_tokens": [ADDED]},
    "extra_special_tokens": {"extra_special_tokens": ["<sep>"]},
    "by a name": {"extra_special_tokens": {"separator": "<sep>"}},
    "model_specific_special_tokens": {"model_specific_special_tokens": {"image_token": "<sep>"}},
    "a name of its own": {"image_token": "<sep>"},
    "an id more": {"added_tokens_decoder": {"900": {"content": "<sep>"}}},
    "another content": {"added_tokens_decoder": {"{id}": {"content": "<sep>"}}},
}
FLAGS = ("lstrip", "rstrip", "single_word", "normalized")
CONFIGURED: dict[str, tuple[dict[str, Any], str]] = {
    **{name: (config, " <sep>") for name, config in NAMING.items()},
    **{
        flag: ({"added_tokens_decoder": {"{id}": {"content": "<|im_end|>", flag: True}}}, "<|im_end|>")
        for flag in FLAGS
    },
    "no object": ({"added_tokens_decoder": {"5": "<sep>"}}, "transformers cannot read its tokenizer: TypeError"),
    "split": ({"split_special_tokens": True}, "special tokens read as text"),
}


@pytest.mark.few_cases(4)
@pytest.mark.parametrize("name", CONFIGURED)
def test_a_tokenizer_that_training_would_read_otherwise_is_refused(name: str, base: Path) -> None:
    changes, message = CONFIGURED[name]
    id = Tokenizer.from_file(str(base / "tokenizer.json")).token_to_id("<|im_end|>")
    written = json.dumps({**families.NAMED["qwen"], **changes}).replace("{id}", str(id))
    (base / "tokenizer_config.json").write_text(written)
    assert message in refusal(base)


@pytest.mark.parametrize(
    ("file", "content"),
    [("special_tokens_map.json", {"pad_token": "<sep>"}), ("added_tokens.json", {"<sep>": 900})],
)
def test_tokens_of_other_files_that_training_would_read_are_refused(
    file: str, content: dict[str, Any], base: Path
) -> None:
    (base / file).write_text(json.dumps(content))
    assert " <sep>" in refusal(base)


def test_a_tokenizer_whose_configuration_repeats_its_tokens_is_taken(base: Path) -> None:
    tokens = json.loads((base / "tokenizer.json").read_text())["added_tokens"]
    decoder = {str(token.pop("id")): token for token in tokens}
    config = {**families.NAMED["qwen"], "added_tokens_decoder": decoder, "additional_special_tokens": ["<|im_start|>"]}
    (base / "tokenizer_config.json").write_text(json.dumps(config))
    assert run(base)[0] == 0


def test_a_model_without_a_chat_template_is_refused(base: Path) -> None:
    (base / "chat_template.jinja").unlink()
    code, result = run(base)
    assert code == 11
    assert result.problem is not None
    assert result.problem.code == "no_chat_template"
    assert left(base) == {}


@pytest.mark.parametrize("id", ["acme/gpt", "Qwen/Qwen2.5-3B-Instruct"])
def test_a_model_that_the_catalog_does_not_offer_is_a_matter_of_license(base: Path, id: str) -> None:
    code, result = run(base, id)
    assert code == runtime.EXIT_CODES[FailureClass.LICENSE] == 15
    assert result.failure_class is FailureClass.LICENSE
    assert left(base) == {}


def test_a_folder_that_is_not_mounted_is_the_platform_s_fault(base: Path) -> None:
    base.parent.rename(base.parents[1] / "elsewhere")
    code, result = run(base)
    assert code == runtime.EXIT_CODES[FailureClass.PLATFORM]
    assert result.problem is not None
    assert result.problem.code == "input_missing"
