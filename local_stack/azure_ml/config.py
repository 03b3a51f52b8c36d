"""How one emulator is set up."""

import json
import re
import secrets
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from local_stack.processes import REPOSITORY

TRAINING = REPOSITORY / "training_job" / "Dockerfile"
SERVING = REPOSITORY / "infra" / "environments" / "serving" / "Dockerfile"
_CODE, TMP = "/app", "{tmp}"
# Of this machine and not of the image: its programs, and a home that nobody can use (`processes.container`).
_OWN = ("PATH", "HOME")


def variables_of(dockerfile: Path) -> dict[str, str]:
    """Its ENV instructions, with the repository in the place of the folder of our code, and TMP in that of /tmp.

    A job finds our code only if the image says where it is: Azure ML starts a command in a folder of its own.
    """
    joined = dockerfile.read_text().replace("\\\n", " ").splitlines()
    found = dict(pair.split("=", 1) for line in joined if line.startswith("ENV ") for pair in shlex.split(line)[1:])
    own = {name: re.sub("^/tmp", TMP, value) for name, value in found.items() if name not in _OWN}
    return {name: value.replace(_CODE, str(REPOSITORY)) for name, value in own.items()}


LOCATION = "local"
ARM = "https://management.azure.com"


@dataclass(frozen=True, slots=True)
class Environment:
    """What a registered environment, NAME:VERSION, stands for on this machine.

    `python` is the interpreter of jobs, `variables` what the image sets. `serve` is the command of a deployment, with
    `{python}`, `{model}` and `{port}` to fill in; it is ready once `readiness` answers 200. `any_model_name`: a server
    that insists on its own model name does not get the caller's, so that any OpenAI client works.
    """

    python: str = sys.executable
    variables: Mapping[str, str] = field(default_factory=dict)
    serve: tuple[str, ...] = ()
    readiness: str = "/health"
    any_model_name: bool = False


# float32 because a CPU has no fast bfloat16, and the evaluation job computes in float32 there too.
_TRANSFORMERS = (
    "{python}", str(Path(__file__).with_name("chat_server.py")), "serve", "{model}",
    "--host", "127.0.0.1", "--port", "{port}", "--device", "cpu", "--dtype", "float32",
)  # fmt: skip

# Of the machine, not of the images: models this small are fastest on one thread each.
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}

ENVIRONMENTS = {
    "droptune-training:6": Environment(variables=variables_of(TRAINING) | _ONE_THREAD),
    "droptune-serving:4": Environment(
        variables=variables_of(SERVING) | _ONE_THREAD, serve=_TRANSFORMERS, any_model_name=True
    ),
}


@dataclass(frozen=True, slots=True)
class Machine:
    """A size this emulator offers; `limit` is in cores of its family, dedicated and spot alike, `used` for others."""

    family: str
    cores: int
    gpus: int = 0
    memory_gb: float = 8.0
    used: int = 0
    limit: int = 100


# What the defaults of the settings and of the tiny base model ask for.
MACHINES = {
    "Local_CPU": Machine("localFamily", 2),
    "Standard_E4ds_v4": Machine("standardEDSv4Family", 4, memory_gb=32.0),
}


def load_environments(path: Path | None) -> dict[str, Environment]:
    """The built-in table, extended by a JSON file: {"NAME:VERSION": {fields of Environment that differ}}."""
    table = dict(ENVIRONMENTS)
    if path is not None:
        for name, fields in json.loads(path.read_text()).items():
            fields["serve"] = tuple(fields.get("serve", ()))
            table[name] = replace(table.get(name, Environment()), **fields)
    return table


@dataclass(frozen=True, slots=True)
class EmulatorConfig:
    """Folders, limits and the public address of one emulator. Times in seconds.

    Without `blob_store`, the URL of a BlobStore, the datastores are the folders of `blob_root`.
    """

    root: Path
    blob_root: Path
    port: int
    blob_store: str | None = None
    slots: int = 1
    tick_s: float = 0.05
    stop_grace_s: float = 5.0
    secret: str = field(default_factory=secrets.token_urlsafe, repr=False)
    environments: dict[str, Environment] = field(default_factory=lambda: dict(ENVIRONMENTS))
    machines: dict[str, Machine] = field(default_factory=lambda: dict(MACHINES))
    names_of_others: frozenset[str] = frozenset()  # of endpoints that other workspaces of the region have

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def environment_of(self, arm_id: str | None) -> Environment | None:
        """By ARM id (.../environments/NAME/versions/VERSION); None if it is not in the table."""
        parts = (arm_id or "").split("/")
        if len(parts) < 4 or parts[-4] != "environments":
            return None
        return self.environments.get(f"{parts[-3]}:{parts[-1]}")


def operation_url(id: str) -> str:
    """Where a long-running operation is polled."""
    return (
        f"{ARM}/subscriptions/local/providers/Microsoft.MachineLearningServices/locations/{LOCATION}"
        f"/mfeOperationsStatus/{id}?api-version=2022-02-01-preview"
    )


def system_data(created: str) -> dict[str, Any]:
    who = {"createdBy": "local", "createdByType": "User", "lastModifiedBy": "local"}
    return {**who, "lastModifiedByType": "User", "createdAt": created, "lastModifiedAt": created}
