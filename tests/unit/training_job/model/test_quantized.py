"""The 4-bit base: each fault that raises no error has its guard."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shared.domain.errors import FailureClass, PermanentFailure
from shared.rendering.bundle import read_bundle_folder
from shared.rendering.check import LengthPolicy
from tests.paths import ROOT

TINY_BASE = ROOT / "local_stack" / "tiny_base" / "weights"
HEAD = "base_model.model.lm_head"


@pytest.fixture
def quantized_base(random_base: Path) -> Any:
    import torch

    from training_job.model.quantized import load_model

    return load_model(random_base, torch.float32, quantize=True)


def trainer_of(run: Any, tokenizer: Any) -> Any:
    from training_job.data.chat_rows import bundle_of
    from training_job.data.selection import EncodedData
    from training_job.job.runtime import read_recipe
    from training_job.job.setup import Setup
    from training_job.methods import supervised

    recipe, rows = read_recipe(run.recipe), run.data / "train.jsonl"
    file = supervised.read(rows, bundle_of(tokenizer), LengthPolicy(256, "reject"))
    data = EncodedData.of(file, rows, recipe)
    return supervised.build(Setup(run.base, run.output, recipe, tokenizer, 20, 4), data)


def adapter_types(model: Any) -> set[Any]:
    return {parameter.dtype for parameter in model.parameters() if parameter.requires_grad}


def test_the_base_is_really_in_four_bits(quantized_base: Any) -> None:
    import torch
    from bitsandbytes.nn.modules import Linear4bit

    layers = [module for module in quantized_base.modules() if isinstance(module, Linear4bit)]
    assert len(layers) == 14
    assert {layer.weight.dtype for layer in layers} == {torch.uint8}
    weights: list[Any] = [layer.weight for layer in layers]
    assert all(weight.quant_state.quant_type == "nf4" for weight in weights)
    assert all(weight.quant_state.nested for weight in weights)


def test_a_base_that_came_in_full_precision_is_refused(random_base: Path) -> None:
    import torch

    from training_job.model.quantized import load_model, require_quantized

    with pytest.raises(PermanentFailure, match="not_quantized"):
        require_quantized(load_model(random_base, torch.float32))


def test_no_layer_may_be_repacked_for_inference(quantized_base: Any) -> None:
    from bitsandbytes.nn.modules import Linear4bit

    flags = {module.support_avx512bf16_for_cpu for module in quantized_base.modules() if isinstance(module, Linear4bit)}
    assert flags == {False}


def test_an_evaluation_in_between_does_not_change_gradients(quantized_base: Any) -> None:
    import torch

    embedding = quantized_base.get_input_embeddings().weight
    batch = torch.arange(3, 43).view(2, 20)

    def gradient() -> Any:
        quantized_base.train()
        quantized_base.zero_grad()
        quantized_base(input_ids=batch, labels=batch).loss.backward()
        return embedding.grad.clone()

    before = gradient()
    quantized_base.eval()
    with torch.no_grad():
        quantized_base(input_ids=batch)
    assert (gradient() - before).abs().max().item() == 0.0
    assert before.abs().max().item() > 0


@pytest.mark.parametrize("quantization", ["nf4", "none"])
def test_adapters_are_float32_after_building(
    quantization: str, bench: Callable[..., Any], resolved: Any, tmp_path: Path, tokenizer: Any
) -> None:
    import torch

    run = bench(tmp_path, recipe=resolved(compute_dtype="bfloat16", quantization=quantization))
    assert adapter_types(trainer_of(run, tokenizer).model) == {torch.float32}


@pytest.mark.few_cases(1)
@pytest.mark.parametrize("resumed", [True, False])
def test_adapters_are_trained_in_float32_even_if_they_were_not(
    resumed: bool, finished: Any, tokenizer: Any, bench: Callable[..., Any], tmp_path: Path
) -> None:
    import torch

    from shared.domain.results import TimeLimit
    from training_job.job.checkpoints import Identity
    from training_job.job.curve import Curve
    from training_job.job.runtime import RunningMetrics
    from training_job.methods.watch import Watch

    trainer = trainer_of(bench(tmp_path), tokenizer)
    for parameter in trainer.model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.to(torch.bfloat16)
    trainer.add_callback(
        Watch(
            Curve(tmp_path),
            RunningMetrics(micro_batch_size=4),
            Identity("j", "d", "r", "b"),
            {},
            TimeLimit(60, "deadline"),
        )
    )
    trainer.train(resume_from_checkpoint=str(finished.output / "checkpoints" / "checkpoint-18") if resumed else None)
    assert adapter_types(trainer.model) == {torch.float32}
    moments = {state["exp_avg"].dtype for state in trainer.optimizer.state.values()}
    assert moments == {torch.float32}


def test_adapters_of_a_supervised_run_share_their_input(finished: Any, tokenizer: Any) -> None:
    from peft.tuners.lora import LoraLayer

    layers = [module for module in trainer_of(finished, tokenizer).model.modules() if isinstance(module, LoraLayer)]
    assert len(layers) == 14
    assert not any(layer.cast_input_dtype_enabled for layer in layers)


def test_a_tiny_model_on_a_cpu_uses_one_thread(random_base: Path) -> None:
    import torch

    from training_job.model.quantized import load_model

    torch.set_num_threads(2)
    load_model(random_base, torch.float32)
    assert torch.get_num_threads() == 1 or torch.cuda.is_available()


def test_the_merged_model_answers_as_the_adapter_on_the_dequantized_base(finished: Any, random_base: Path) -> None:
    import torch
    from peft import PeftModel

    from training_job.model.quantized import load_model, merge_adapter

    adapter = finished.output / "model" / "adapter"
    batch = torch.arange(3, 43).view(2, 20)
    base = load_model(random_base, torch.float32, quantize=True).dequantize()
    with torch.no_grad():
        plain = base(input_ids=batch).logits
        expected = PeftModel.from_pretrained(base, adapter).eval()(input_ids=batch).logits
        got = merge_adapter(random_base, adapter, torch.float32, quantize=True).eval()(input_ids=batch).logits
    torch.testing.assert_close(got, expected, atol=1e-4, rtol=1e-4)
    assert (expected - plain).abs().max().item() > 0.1


def test_the_merged_folder_is_plain_sixteen_bit_and_complete(finished: Any, random_base: Path) -> None:
    import torch
    from safetensors.torch import load_file

    from training_job.model.quantized import merge_adapter

    folder = finished.output / "model" / "merged"
    config = json.loads((folder / "config.json").read_text())
    assert "quantization_config" not in config
    assert (folder / "chat_template.jinja").read_text() == (random_base / "chat_template.jinja").read_text()
    saved = load_file(folder / "model.safetensors")
    assert {weight.dtype for weight in saved.values()} == {torch.bfloat16}
    merged = merge_adapter(
        random_base, finished.output / "model" / "adapter", torch.float32, quantize=True
    ).state_dict()
    name = "model.layers.0.mlp.down_proj.weight"
    assert torch.equal(saved[name], merged[name].to(torch.bfloat16))


@pytest.mark.parametrize("special", [True, False])
def test_a_token_that_the_model_does_not_embed_is_refused_before_training(
    random_base: Path, tmp_path: Path, special: bool
) -> None:
    from training_job.model.quantized import load_tokenizer

    folder = Path(shutil.copytree(random_base, tmp_path / "base"))
    tokenizer = load_tokenizer(folder)
    size = json.loads((folder / "config.json").read_text())["vocab_size"]
    missing = size - len(tokenizer)
    tokenizer.add_tokens([f"<part{n}>" for n in range(missing)], special_tokens=special)
    tokenizer.save_pretrained(folder)
    assert len(load_tokenizer(folder)) == size
    tokenizer.add_tokens(["<one more>"], special_tokens=special)
    tokenizer.save_pretrained(folder)
    with pytest.raises(PermanentFailure, match=f"token {size}, the model embeds only {size}") as caught:
        load_tokenizer(folder)
    assert (caught.value.failure_class, caught.value.problem.code) == (FailureClass.RECIPE, "token_without_embedding")


CLASSES = ("Qwen2Tokenizer", "GPT2Tokenizer", "GPT2TokenizerFast", "LlamaTokenizer", "GemmaTokenizerFast", None)


@pytest.mark.few_cases(3)
@pytest.mark.parametrize("kind", ["llama", "mistral", "phi3"])
@pytest.mark.parametrize("named", CLASSES)
def test_training_and_what_serves_the_model_read_text_as_the_file_says_whatever_class_is_named(
    random_base: Path, tmp_path: Path, named: str | None, kind: str
) -> None:
    from transformers import AutoTokenizer

    from training_job.data.chat_rows import bundle_of
    from training_job.model.quantized import load_tokenizer

    folder = Path(shutil.copytree(random_base, tmp_path / "base"))
    config = json.loads((folder / "tokenizer_config.json").read_text())
    config |= {"tokenizer_class": named, "backend": None}
    (folder / "tokenizer_config.json").write_text(json.dumps({k: v for k, v in config.items() if v is not None}))
    model = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**model, "model_type": kind}))
    expected, loaded = read_bundle_folder(folder), load_tokenizer(folder)
    loaded.save_pretrained(tmp_path / "saved")
    shutil.copy(folder / "config.json", tmp_path / "saved")
    served = bundle_of(AutoTokenizer.from_pretrained(tmp_path / "saved"))
    assert bundle_of(loaded).sha256 == expected.sha256 == served.sha256


@pytest.mark.parametrize("kind", ["llama4_text", "cohere", "gpt2", "no such type", None])
def test_a_model_of_a_type_that_training_does_not_know_is_refused_before_it_begins(
    random_base: Path, tmp_path: Path, kind: str
) -> None:
    from training_job.model.quantized import load_tokenizer

    folder = Path(shutil.copytree(random_base, tmp_path / "base"))
    model = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**model, "model_type": kind}))
    with pytest.raises(PermanentFailure) as caught:
        load_tokenizer(folder)
    assert (caught.value.failure_class, caught.value.problem.code) == (FailureClass.RECIPE, "unknown_model_type")


def test_the_token_that_ends_a_turn_is_saved_as_one_that_no_answer_is_shown_with(
    random_base: Path, tmp_path: Path
) -> None:
    from transformers import AutoTokenizer

    from training_job.data.chat_rows import bundle_of
    from training_job.model.quantized import load_tokenizer

    folder = Path(shutil.copytree(random_base, tmp_path / "base"))
    document = json.loads((folder / "tokenizer.json").read_text())
    for token in document["added_tokens"]:
        token["special"] = token["special"] and token["content"] != "<|im_end|>"
    (folder / "tokenizer.json").write_text(json.dumps(document))
    config = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps({**config, "eos_token": config["pad_token"]}))
    plain: Any = AutoTokenizer.from_pretrained(folder)
    ids: Any = [5, 6, plain.convert_tokens_to_ids("<|im_end|>")]
    assert plain.decode(ids, skip_special_tokens=True).endswith("<|im_end|>")
    loaded = load_tokenizer(folder)
    loaded.save_pretrained(tmp_path / "saved")
    for tokenizer in (loaded, AutoTokenizer.from_pretrained(tmp_path / "saved")):
        assert tokenizer.decode(ids, skip_special_tokens=True) == tokenizer.decode(ids[:2])
    assert bundle_of(loaded).sha256 == read_bundle_folder(folder).sha256


def change_weights(adapter: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    from safetensors.torch import load_file, save_file

    file = adapter / "adapter_model.safetensors"
    save_file(change(load_file(file)), file, metadata={"format": "pt"})


def change_config(adapter: Path, **fields: Any) -> None:
    file = adapter / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | fields))


def keep_only(adapter: Path, parts: tuple[str, ...], **fields: Any) -> None:
    change_config(adapter, **fields)
    change_weights(adapter, lambda saved: {name: saved[name] for name in saved if any(part in name for part in parts)})


def adapt_head(adapter: Path) -> None:
    import torch

    size = json.loads((TINY_BASE / "config.json").read_text())
    hidden, vocabulary = size["hidden_size"], size["vocab_size"]
    shapes = {"lora_A": (4, hidden), "lora_B": (vocabulary, 4), "base_layer": (vocabulary, hidden)}
    parts = {f"{HEAD}.{name}.weight": torch.zeros(shape) for name, shape in shapes.items()}
    change_weights(adapter, lambda saved: saved | parts)
    targets = json.loads((adapter / "adapter_config.json").read_text())["target_modules"]
    change_config(adapter, target_modules=[*targets, "lm_head"])


UNFIT: dict[str, Callable[[Path], object]] = {
    "keys renamed": lambda adapter: change_weights(
        adapter, lambda saved: {name.replace("model.model.", "model.language_model."): saved[name] for name in saved}
    ),
    "a layer missing": lambda adapter: change_weights(
        adapter, lambda saved: {name: saved[name] for name in saved if ".layers.1." not in name}
    ),
    "a layer too many": lambda adapter: change_weights(
        adapter, lambda saved: saved | {name.replace(".layers.1.", ".layers.2."): saved[name].clone() for name in saved}
    ),
    "one half of a layer missing": lambda adapter: change_weights(
        adapter, lambda saved: {name: saved[name] for name in saved if "layers.0.self_attn.q_proj.lora_B" not in name}
    ),
    "another shape": lambda adapter: change_weights(
        adapter, lambda saved: {name: saved[name].repeat(2, 2) for name in saved}
    ),
    "no weight a number": lambda adapter: change_weights(
        adapter, lambda saved: {name: saved[name] * float("nan") for name in saved}
    ),
    "infinity for a number": lambda adapter: change_weights(
        adapter, lambda saved: {name: saved[name] + float("inf") for name in saved}
    ),
    "a layer that no run trains": adapt_head,
    "no weights": lambda adapter: (adapter / "adapter_model.safetensors").write_bytes(b""),
    "fewer targets": lambda adapter: keep_only(adapter, ("q_proj", "v_proj"), target_modules=["q_proj", "v_proj"]),
    "fewer layers": lambda adapter: keep_only(adapter, (".layers.0.",), layers_to_transform=[0]),
    "another scale of some layers": lambda adapter: change_config(adapter, alpha_pattern={"q_proj": 64}),
    "another kind": lambda adapter: change_config(adapter, bias="lora_only"),
    "another scale": lambda adapter: change_config(adapter, lora_alpha=9),
}


def mark(adapter: Path, **fields: Any) -> None:
    from training_job.job.checkpoints import hashes

    facts = {"fixed_loss": 1.0, "sha256": hashes(adapter), **fields}
    (adapter / "complete.json").write_text(json.dumps(facts))


@pytest.mark.few_cases(4)
@pytest.mark.parametrize("fault", UNFIT)
def test_an_adapter_that_does_not_fit_is_not_trained_on_though_its_mark_agrees(
    fault: str, finished: Any, resolved: Any, random_base: Path, tmp_path: Path
) -> None:
    import torch

    from training_job.model.quantized import load_adapter, load_model, require_as_saved

    adapter = tmp_path / "adapter"
    shutil.copytree(finished.output / "model" / "adapter", adapter)
    UNFIT[fault](adapter)
    with pytest.raises(PermanentFailure, match=r"not as complete.json says, .*: adapter_"):
        require_as_saved(adapter)
    mark(adapter)
    with pytest.raises(PermanentFailure) as caught:
        load_adapter(load_model(random_base, torch.float32), adapter, resolved().hyperparameters)
    problem = caught.value.problem
    assert (caught.value.failure_class, problem.code) == (FailureClass.RECIPE, "adapter_differs")
    assert problem.param == "method.continue_from"


def put_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


ODD_MARKS: dict[str, Callable[[Path], object]] = {
    "none": lambda adapter: (adapter / "complete.json").unlink(),
    "empty": lambda adapter: (adapter / "complete.json").write_bytes(b""),
    "zeros": lambda adapter: (adapter / "complete.json").write_bytes(bytes(300)),
    "no object": lambda adapter: (adapter / "complete.json").write_text("[]"),
    "a folder": lambda adapter: put_folder(adapter / "complete.json"),
    "no hashes": lambda adapter: mark(adapter, sha256=None),
    "a list of hashes": lambda adapter: mark(adapter, sha256=[]),
    "no loss": lambda adapter: mark(adapter, fixed_loss=None),
    "a loss that was NaN": lambda adapter: mark(adapter, fixed_loss=float("nan")),
    "a loss that is a text": lambda adapter: mark(adapter, fixed_loss="1.0"),
    "a hash less": lambda adapter: mark(adapter, sha256={}),
    "of a file that is not there": lambda adapter: (adapter / "adapter_config.json").unlink(),
    "without a file that is there": lambda adapter: (adapter / "more.txt").write_text("more"),
}


def test_an_adapter_without_a_mark_that_tells_what_was_saved_is_not_trained_on(
    finished: Any, resolved: Any, tmp_path: Path
) -> None:
    from training_job.model.quantized import load_adapter

    found: list[str] = []
    for number, (name, change) in enumerate(ODD_MARKS.items()):
        adapter = tmp_path / str(number)
        shutil.copytree(finished.output / "model" / "adapter", adapter)
        change(adapter)
        try:
            load_adapter(None, adapter, resolved().hyperparameters)  # type: ignore[arg-type]
        except PermanentFailure as error:
            if (error.failure_class, error.problem.param) == (FailureClass.RECIPE, "method.continue_from"):
                continue
        except Exception as error:
            name += f": {error!r}"
        found.append(name)
    assert found == []


def test_an_adapter_to_continue_from_has_the_dropout_of_the_recipe(
    finished: Any, resolved: Any, random_base: Path, tmp_path: Path
) -> None:
    import torch

    from training_job.model.quantized import load_adapter, load_model

    adapter = finished.output / "model" / "adapter"
    model = load_adapter(load_model(random_base, torch.float32), adapter, resolved(lora_dropout=0.5).hyperparameters)
    dropouts = [module for name, module in model.named_modules() if name.endswith("lora_dropout.default")]
    assert len(dropouts) == 14
    assert {getattr(module, "p", 0.0) for module in dropouts} == {0.5}
    model.save_pretrained(str(tmp_path))
    assert json.loads((tmp_path / "adapter_config.json").read_text())["lora_dropout"] == 0.5


@pytest.mark.parametrize(
    "error",
    [OSError(5, "EIO"), OSError(28, "ENOSPC"), MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate")],
    ids=repr,
)
def test_an_adapter_that_could_not_be_read_is_not_said_to_differ(
    error: Exception, finished: Any, resolved: Any, random_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    from training_job.model import quantized

    def fail(*_: Any, **__: Any) -> None:
        raise error

    base, adapter = quantized.load_model(random_base, torch.float32), finished.output / "model" / "adapter"
    monkeypatch.setattr(quantized, "load_file", fail)
    with pytest.raises(type(error)):
        quantized.load_adapter(base, adapter, resolved().hyperparameters)


@pytest.mark.parametrize("fault", ["keys renamed", "a layer missing", "no weights"])
def test_an_adapter_that_does_not_fit_is_not_merged(
    fault: str, finished: Any, random_base: Path, tmp_path: Path
) -> None:
    import torch

    from training_job.model.quantized import merge_adapter

    shutil.copytree(finished.output / "model" / "adapter", tmp_path / "adapter")
    UNFIT[fault](tmp_path / "adapter")
    with pytest.raises(PermanentFailure) as caught:
        merge_adapter(random_base, tmp_path / "adapter", torch.float32, quantize=False)
    assert (caught.value.failure_class, caught.value.problem.code) == (FailureClass.CODE, "adapter_differs")
