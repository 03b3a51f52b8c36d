"""Every patch of a library is in one module, was seen in the pinned version, and is still needed."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import runpy
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from docs.generator.markdown import table
from tests.paths import ROOT
from training_job import patches

PAGE = ROOT / "docs" / "explanation" / "training.md"
ALL = {
    name: each
    for name, each in vars(patches).items()
    if inspect.isfunction(each) and each.__module__ == patches.__name__ and not name.startswith("_")
}
SEEN = re.compile(r"(?P<why>.*) Seen in (?P<seen>[^;]+); unneeded when (?P<until>.+)\.$")
MODULES = sorted(
    path.relative_to(ROOT).as_posix() for path in (ROOT / "training_job").rglob("*.py") if path.stem != "patches"
)


def described(name: str) -> dict[str, str]:
    match = SEEN.match(" ".join((ALL[name].__doc__ or "").split()))
    assert match, f"{name} says no version, or not when it is unneeded"
    return match.groupdict()


def test_each_patch_was_seen_in_the_pinned_version() -> None:
    """A new version of a library asks for a look at what is patched of it."""
    pinned = dict(re.findall(r"^([\w-]+)==(\S+)", (ROOT / "training_job/requirements.txt").read_text(), re.MULTILINE))
    seen = [pair for name in ALL for pair in re.findall(r"([\w-]+) (\d[\w.]*)", described(name)["seen"])]
    assert len(seen) >= len(ALL) > 0
    assert {library: version for library, version in seen if pinned.get(library) != version} == {}


def test_the_page_has_the_table_of_patches() -> None:
    rows = [
        (of["seen"], f"`{name}`", of["why"].split(". ")[0], of["until"]) for name in ALL for of in [described(name)]
    ]
    assert table(("seen in", "patch", "reason", "unneeded when"), sorted(rows)) in PAGE.read_text()


# What libraries document as theirs to set, and the place where a patch is put on a model.
DOCUMENTED = {
    *("model.generation_config", "tokenizer.chat_template", "tokenizer.pad_token", "config.lora_dropout"),
    *("control.should_log", "control.should_save", "control.should_evaluate", "control.should_training_stop"),
    *("trainer.at_once", "parameter.grad", "_OPTIONS.max_mem", "_OPTIONS.log_errors"),
    *("model.create_or_update_model_card", "atexit.register(shutil.rmtree, together, ignore_errors=True)"),
}

CALLS = re.compile(r"os\.environ\.setdefault|warnings\.|setattr\(|logging\.|\w+\.(register|set_output\w+)\(")


def changes(tree: ast.Module) -> Iterator[str]:
    """What of a module may change a library: attributes of others, their private names, the environment, warnings."""
    for node in ast.walk(tree):
        text = ast.unparse(node) if isinstance(node, ast.Attribute | ast.Subscript | ast.Call) else ""
        if isinstance(node, ast.Attribute):
            is_set = isinstance(node.ctx, ast.Store | ast.Del) and not text.startswith(("self.", "metrics."))
            is_private = re.match("_[a-z]", node.attr) and ast.unparse(node.value) not in ("self", "cls")
            if is_set or (is_private and node.attr != "_replace"):
                yield text
        elif isinstance(node, ast.Subscript):
            yield from [text] if isinstance(node.ctx, ast.Store) and text.startswith("os.environ") else []
        elif CALLS.match(text):
            yield text


def test_no_other_module_changes_a_library() -> None:
    of_modules = {module: set(changes(ast.parse((ROOT / module).read_text()))) - DOCUMENTED for module in MODULES}
    assert {module: found for module, found in of_modules.items() if found} == {}


def test_what_a_subclass_replaces_of_a_librarys_private_methods_is_a_patch(libraries: None) -> None:
    replaced = {}
    for path in MODULES:
        module = importlib.import_module(path.removesuffix(".py").removesuffix("/__init__").replace("/", "."))
        for cls in [each for each in vars(module).values() if inspect.isclass(each)]:
            theirs = [parent for parent in cls.__mro__[1:-1] if not parent.__module__.startswith("training_job.")]
            for name, each in vars(cls).items() if cls.__module__ == module.__name__ else ():
                if re.match("_[a-z]", name) and inspect.isfunction(each) and any(hasattr(one, name) for one in theirs):
                    replaced[name] = each.__module__
    names = ("_prepare_dataset", "_get_train_sampler", "_tokenize_prompts", "_generate_single_turn")
    assert replaced == dict.fromkeys(names, patches.__name__)


class StillNeeded:
    """For each patch: the library without it does what the docstring says."""

    def __init__(self, model: Callable[..., Any], folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.model, self.folder, self.monkeypatch = model, folder, monkeypatch

    def unset(self, *names: str) -> None:
        for name in names:
            self.monkeypatch.delenv(name, raising=False)

    def no_hub(self) -> bool:
        self.unset("HF_HUB_OFFLINE")
        with warnings.catch_warnings(action="ignore"):  # it was imported before
            return not runpy.run_module("huggingface_hub.constants")["HF_HUB_OFFLINE"]

    def brief_mlflow(self) -> bool:
        from mlflow import environment_variables as read

        self.unset("MLFLOW_DISABLE_TELEMETRY", "MLFLOW_HTTP_REQUEST_TIMEOUT", "MLFLOW_HTTP_REQUEST_MAX_RETRIES")
        slow = read.MLFLOW_HTTP_REQUEST_TIMEOUT.get() > 5 and read.MLFLOW_HTTP_REQUEST_MAX_RETRIES.get() > 1
        return slow and not read.MLFLOW_DISABLE_TELEMETRY.get()

    def no_compiler(self) -> bool:
        from bitsandbytes.backends.default import ops

        return "torch.compile(fn" in inspect.getsource(ops)

    def no_kernel_warning(self) -> bool:
        from bitsandbytes.backends.cpu import ops

        return "logger.warning" in inspect.getsource(ops)

    def no_checkpointing_warning(self) -> bool:
        with warnings.catch_warnings(record=True, action="always") as found:
            self.adapted()
        return any("is_gradient_checkpointing" in str(each.message) for each in found)

    def keep_training_kernel(self) -> bool:
        import torch
        from bitsandbytes.functional import has_avx512bf16
        from bitsandbytes.nn.modules import Linear4bit

        layer: Any = Linear4bit(64, 64, quant_type="nf4").to("cpu")
        with torch.no_grad():
            layer.eval()(torch.zeros(1, 64))
        return bool(getattr(layer.weight.quant_state, "packing_format_for_cpu", not has_avx512bf16()))

    def adapters_to_float32(self) -> bool:
        from trl.trainer import dpo_trainer, grpo_trainer

        return all(
            "param.data.to(torch.bfloat16)" in inspect.getsource(each.__init__)
            for each in (dpo_trainer.DPOTrainer, grpo_trainer.GRPOTrainer)
        )

    def share_adapter_inputs(self) -> bool:
        from peft.tuners.lora import LoraLayer

        return all(each.cast_input_dtype_enabled for each in self.adapted().modules() if isinstance(each, LoraLayer))

    def row_attention(self) -> bool:
        import torch
        from transformers.masking_utils import create_causal_mask

        positions = torch.tensor([[*range(5), *range(3)]])
        config = self.model().config
        hidden = torch.zeros(1, 8, config.hidden_size)
        mask = create_causal_mask(config, hidden, None, past_key_values=None, position_ids=positions)
        return mask is not None and mask.shape[-2:] == (8, 8)

    def take_head(self) -> bool:
        import torch

        ids = torch.arange(3, 23)[None]
        return bool(self.model()(input_ids=ids, labels=ids).logits.shape[1] == 20)

    def no_adapter_warnings(self) -> bool:
        from peft import PeftModel
        from safetensors.torch import load_file, save_file

        self.adapted().save_pretrained(str(self.folder))
        file = self.folder / "adapter_model.safetensors"
        save_file({f"other.{name}": tensor for name, tensor in load_file(file).items()}, file)
        with warnings.catch_warnings(record=True, action="always") as found:
            PeftModel.from_pretrained(self.model(), self.folder)
        return any("missing adapter keys" in str(each.message) for each in found)

    def no_model_card(self) -> bool:
        from trl.trainer.dpo_trainer import DPOTrainer

        model = self.adapted()
        model.save_pretrained(str(self.folder / "theirs"))
        model.create_or_update_model_card = patches.no_model_card
        model.save_pretrained(str(self.folder / "ours"))
        assert not (self.folder / "ours" / "README.md").exists()
        of_trl = "self.create_model_card(" in inspect.getsource(DPOTrainer._save_checkpoint)
        return of_trl and (self.folder / "theirs" / "README.md").exists()

    def sampler_by_epoch(self) -> bool:
        import torch
        from transformers import Trainer

        settings = SimpleNamespace(train_sampling_strategy="random")
        sampler: Any = Trainer._get_train_sampler(SimpleNamespace(args=settings), range(50))  # type: ignore[arg-type]
        orders = []
        for seed in (1, 2):
            torch.manual_seed(seed)
            orders.append(list(sampler))
        return orders[0] != orders[1] and not hasattr(sampler, "set_epoch")

    def start_epoch(self) -> bool:
        from trl.trainer.utils import RepeatSampler

        return not hasattr(RepeatSampler, "set_epoch")

    def keep_dataset(self) -> bool:
        from trl.trainer.dpo_trainer import DPOTrainer

        return "prompt_ids" in inspect.getsource(DPOTrainer._prepare_dataset)

    def keep_prompts(self) -> bool:
        from trl.trainer.grpo_trainer import GRPOTrainer

        with pytest.raises(Exception):  # noqa: B017
            GRPOTrainer._tokenize_prompts(SimpleNamespace(), [[1, 2, 3]])  # type: ignore[arg-type]
        return True

    def no_answers_in_logs(self) -> bool:
        from trl.trainer.grpo_trainer import GRPOTrainer

        return "kwargs:\\n{row_reward_kwargs}" in inspect.getsource(GRPOTrainer)

    def adapted(self) -> Any:
        from peft import LoraConfig, get_peft_model

        return get_peft_model(self.model(), LoraConfig(r=2, target_modules="all-linear", task_type="CAUSAL_LM"))


# Without these a test fails that trains, or nothing but time shows them.
SHOWN_ELSEWHERE = {
    "find_best": "tests/unit/training_job/test_train_attempts.py",
    "sample_in_parts": "tests/unit/training_job/methods/test_reinforcement.py",
    "use_one_thread_if_tiny": "tests/unit/training_job/model/test_quantized.py",
    "no_tokenizer_threads": "",
}


@pytest.fixture(scope="module")
def tiny(random_base: Path) -> Callable[[], Any]:
    import torch

    from training_job.model.quantized import load_model

    return lambda: load_model(random_base, torch.float32)


@pytest.mark.parametrize("name", sorted(ALL.keys() - SHOWN_ELSEWHERE.keys()))
def test_the_library_still_does_what_is_patched(
    name: str, tiny: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert getattr(StillNeeded(tiny, tmp_path, monkeypatch), name)()
