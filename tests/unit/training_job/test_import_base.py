"""The import job: what it refuses, and the bundle it leaves. Without torch, on a folder of the catalog's shapes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.numpy import save_file
from tokenizers import Tokenizer

from shared.domain.errors import FailureClass
from shared.domain.results import JobResult
from shared.rendering import export_bundle
from tests.unit.shared.rendering import families
from tests.unit.training_job.tiny_folder import TINY, write_folder, zeros
from training_job.import_base import main
from training_job.job import exit_codes

SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "asset" / "model")


def run(base: Path, base_model: str = TINY.id) -> tuple[int, JobResult]:
    place = base.parents[1]
    arguments = {"--job-name": "import-1", "--base-model": base_model, "--folder": base.parent}
    arguments |= {"--bundle": place / "bundle", "--output": place / "out"}
    code = main([str(word) for pair in arguments.items() for word in pair])
    return code, JobResult.model_validate_json((place / "out" / "result.json").read_bytes())


def left(base: Path) -> dict[str, bytes]:
    folder = base.parents[1] / "bundle"
    return {file.name: file.read_bytes() for file in folder.iterdir()} if folder.exists() else {}


def refusal(base: Path, base_model: str = TINY.id) -> str:
    code, result = run(base, base_model)
    assert code == exit_codes.BY_CLASS[FailureClass.RECIPE] == 11
    assert result.failure_class is FailureClass.RECIPE
    assert result.problem is not None
    assert (result.problem.code, result.problem.param) == ("base_model_unfit", base_model)
    assert left(base) == {}
    return result.problem.message


def test_a_base_model_as_the_catalog_has_it_leaves_its_bundle_and_what_its_license_asks(
    base: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, result = run(base)
    assert (code, result.status, result.problem) == (0, "completed", None)
    assert left(base) == export_bundle(TINY, base)
    output = capsys.readouterr().out
    assert f"license {TINY.license}: {TINY.obligations[0]}" in output
    assert "exported: tokenizer.json, tokenizer_config.json, chat_template.jinja, bundle.json" in output


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


Change = Callable[[Path], object]


def settings(file: str, **values: object) -> Change:
    def change(folder: Path) -> None:
        body = json.loads((folder / file).read_text())
        (folder / file).write_text(json.dumps({**body, **values}))

    return change


def file(name: str) -> Change:
    return lambda folder: (folder / name).write_bytes(b"x")


def cut_off(folder: Path) -> None:
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[:-1])


@pytest.mark.parametrize(
    ("change", "output"),
    [
        (file("pytorch_model.bin"), "pytorch_model.bin is no safetensors file"),
        (file("training_args.PT"), "training_args.PT is no safetensors file"),
        (file("modeling_llama.py"), "modeling_llama.py is code"),
        (
            settings("config.json", auto_map={"AutoModelForCausalLM": "modeling_x.X"}),
            "config.json asks for code of its own (auto_map)",
        ),
        (
            settings("tokenizer_config.json", auto_map={"AutoTokenizer": ["x.X", None]}),
            "tokenizer_config.json asks for code of its own (auto_map)",
        ),
        (settings("config.json", hidden_size=64, head_dim=32), "hidden_size is 64, the catalog says 128"),
        (settings("config.json", vocab_size=7), f"vocab_size is 7, the catalog says {TINY.dims.vocab}"),
        (settings("config.json", num_key_value_heads=2), "num_key_value_heads is 2, the catalog says 4"),
        (settings("config.json", tie_word_embeddings=False), "tie_word_embeddings is False, the catalog says True"),
        (
            settings("config.json", max_position_embeddings=2048),
            "max_position_embeddings is 2048, the catalog says 4096",
        ),
        (lambda folder: (folder / "model.safetensors").unlink(), "model.safetensors cannot be read: FileNotFoundError"),
        (cut_off, "model.safetensors cannot be read: SafetensorError"),
        (
            lambda folder: save_file({"weights": zeros(TINY.parameters - 128)}, folder / "model.safetensors"),
            f"the weights are {TINY.parameters - 128} parameters, the catalog says {TINY.parameters}",
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_folder_is_said_and_nothing_is_exported(base: Path, change: Change, output: str) -> None:
    change(base)
    assert refusal(base) == output


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


def test_all_that_is_wrong_is_said_at_once(base: Path) -> None:
    message = refusal(base, "microsoft/Phi-4")
    assert message.count("the catalog says") == 11
    assert "model_type is llama, the catalog says phi3" in message
    assert f"the weights are {TINY.parameters} parameters, the catalog says 14659507200" in message


def test_every_shard_of_the_index_counts_and_no_other_file(base: Path) -> None:
    (base / "model.safetensors").unlink()
    half = TINY.parameters // 2
    for shard in SHARDS:
        save_file({shard: zeros(half)}, base / shard)
    save_file({"again": zeros(128)}, base / "consolidated.safetensors")
    index = {"weight_map": {"a": SHARDS[0], "b": SHARDS[1], "c": SHARDS[0]}}
    (base / "model.safetensors.index.json").write_text(json.dumps(index))
    assert run(base)[0] == 0
    (base.parents[1] / "bundle" / "bundle.json").unlink()
    (base / SHARDS[1]).unlink()
    code, result = run(base)
    assert code == 11
    assert result.problem is not None
    assert result.problem.message == f"{SHARDS[1]} cannot be read: FileNotFoundError"


def test_a_tokenizer_with_more_tokens_than_the_model_is_refused(base: Path) -> None:
    tokenizer = Tokenizer.from_file(str(base / "tokenizer.json"))
    tokenizer.add_tokens([f"<|extra {n}|>" for n in range(TINY.dims.vocab)])
    (base / "tokenizer.json").write_text(tokenizer.to_str())
    assert f"the model only {TINY.dims.vocab}" in refusal(base)


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
    assert code == exit_codes.BY_CLASS[FailureClass.LICENSE] == 15
    assert result.failure_class is FailureClass.LICENSE
    assert left(base) == {}


def test_a_folder_that_is_not_mounted_is_the_platform_s_fault(base: Path) -> None:
    base.parent.rename(base.parents[1] / "elsewhere")
    code, result = run(base)
    assert code == exit_codes.BY_CLASS[FailureClass.PLATFORM]
    assert result.problem is not None
    assert result.problem.code == "input_missing"
