"""What is wrong with the folder of a base model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.numpy import save_file

from tests.unit.training_job.imported import Change, file, refusal, run
from tests.unit.training_job.tiny_folder import TINY, tensors, write_folder, zeros
from training_job.model.base_folder import content_sha256, weight_files

SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "asset" / "model")


def settings(file: str, **values: object) -> Change:
    def change(folder: Path) -> None:
        body = json.loads((folder / file).read_text())
        (folder / file).write_text(json.dumps({**body, **values}))

    return change


def cut_off(folder: Path) -> None:
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[:-1])


@pytest.mark.parametrize(
    ("change", "output"),
    [
        (file("pytorch_model.bin"), "pytorch_model.bin is no safetensors file"),
        (file("training_args.PT"), "training_args.PT is no safetensors file"),
        (settings("config.json", hidden_size=64, head_dim=32), "hidden_size is 64, the catalog says 128"),
        (settings("config.json", vocab_size=7), f"vocab_size is 7, the catalog says {TINY.dims.vocab}"),
        (settings("config.json", num_key_value_heads=2), "num_key_value_heads is 2, the catalog says 4"),
        (settings("config.json", tie_word_embeddings=False), "tie_word_embeddings is False, the catalog says True"),
        (
            settings("config.json", max_position_embeddings=2048),
            "it reads 2048 tokens (max_position_embeddings), the catalog says 4096",
        ),
        (
            settings("config.json", rope_scaling={"type": "longrope"}, original_max_position_embeddings=1024),
            "it reads 1024 tokens (max_position_embeddings), the catalog says 4096",
        ),
        (
            settings("config.json", quantization_config={"quant_method": "mxfp4"}),
            "its weights are quantized already (mxfp4)",
        ),
        (
            settings("config.json", transformers_weights="other.safetensors"),
            "its config.json has transformers load other.safetensors (transformers_weights)",
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


def test_code_of_a_folder_is_run_neither_by_the_import_nor_by_who_loads_what_was_merged(base: Path) -> None:
    from transformers import AutoConfig, AutoTokenizer

    from training_job.model import quantized

    ran = base.parents[1] / "ran"
    (base / "own.py").write_text(f"open({str(ran)!r}, 'w').close()\n")
    settings("config.json", auto_map=dict.fromkeys(("AutoConfig", "AutoModelForCausalLM"), "own.Own"))(base)
    settings("tokenizer_config.json", auto_map={"AutoTokenizer": ["own.Own", None]})(base)
    assert run(base)[0] == 0
    model = quantized.load_model(base, torch.float32)
    quantized.save_merged(model, quantized.load_tokenizer(base), merged := base.parents[1] / "merged")
    assert not ran.exists()
    assert not [file.name for file in merged.iterdir() if "auto_map" in file.read_text(errors="replace")]
    for reader in (AutoConfig, AutoTokenizer):
        reader.from_pretrained(merged, trust_remote_code=True)
    assert not ran.exists()
    with pytest.raises(AttributeError, match="Own"):
        AutoConfig.from_pretrained(base, trust_remote_code=True)
    assert ran.exists(), "this is what would run it"


def test_all_that_is_wrong_is_said_at_once(base: Path) -> None:
    message = refusal(base, "microsoft/Phi-4")
    assert message.count("the catalog says") == 11
    assert "model_type is llama, the catalog says phi3" in message
    assert f"the weights are {TINY.parameters} parameters, the catalog says 14659507200" in message


def test_every_shard_of_the_index_counts_and_no_other_file(base: Path) -> None:
    (base / "model.safetensors").unlink()
    weights = tensors()
    for n, shard in enumerate(SHARDS):
        save_file({name: weights[name] for name in sorted(weights)[n::2]}, base / shard)
    save_file({"again": zeros(128)}, base / "consolidated.safetensors")
    index = {"weight_map": {"a": SHARDS[0], "b": SHARDS[1], "c": SHARDS[0]}}
    (base / "model.safetensors.index.json").write_text(json.dumps(index))
    assert run(base)[0] == 0
    (base / "model.safetensors").touch()
    assert weight_files(base) == [base / "model.safetensors"], "transformers reads no index beside it"
    (base / "model.safetensors").unlink()
    (base.parents[1] / "bundle" / "bundle.json").unlink()
    (base / SHARDS[1]).unlink()
    code, result = run(base)
    assert code == 11
    assert result.problem is not None
    assert result.problem.message == f"{SHARDS[1]} cannot be read: FileNotFoundError"


def other_weights(count: int, of: int) -> Change:
    """The same header and length; `count` bytes are others in the matrix number `of` of ten."""

    def change(folder: Path) -> None:
        path = folder / "model.safetensors"
        body = bytearray(path.read_bytes())
        start = len(body) * of // 10
        body[start : start + count] = bytes(255 - byte for byte in body[start : start + count])
        path.write_bytes(body)

    return change


def test_a_base_with_other_content_under_the_same_name_has_another_hash(base: Path) -> None:
    of_it = content_sha256(base)
    (base / "README.md").write_text("News.")
    assert content_sha256(base) == of_it
    changes: dict[str, Change] = {
        **{f"matrix {n}": other_weights(TINY.parameters * 2 // 10, n) for n in range(10)},
        "the header": lambda folder: save_file({"other": zeros(TINY.parameters)}, folder / "model.safetensors"),
        "settings": settings("config.json", rope_theta=1e6),
        "tokens that end": lambda folder: (folder / "generation_config.json").write_text('{"eos_token_id": 2}'),
        "template": lambda folder: (folder / "chat_template.jinja").write_text("{{ messages }}"),
        "cut off": cut_off,
    }
    same = []
    for name, change in changes.items():
        write_folder(base)
        change(base)
        same += [name] if content_sha256(base) == of_it else []
        (base / "generation_config.json").unlink(missing_ok=True)
    write_folder(base)
    assert (same, content_sha256(base)) == ([], of_it)
