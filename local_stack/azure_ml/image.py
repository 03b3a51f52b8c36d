"""What the training image gives to every job: the variables its Dockerfile sets.

A job here finds our code only if the image says where it is, for Azure ML starts a command in a folder of its own.
"""

import shlex
from pathlib import Path

from local_stack.paths import REPOSITORY

TRAINING = REPOSITORY / "training_job" / "Dockerfile"
# Of this machine and not of the image: its programs and a home that exists.
_OWN = ("PATH", "HOME")


def variables_of(dockerfile: Path) -> dict[str, str]:
    """Its ENV instructions, with the repository in the place of its working directory."""
    joined = dockerfile.read_text().replace("\\\n", " ").splitlines()
    words = [shlex.split(line) for line in joined if line.startswith(("ENV ", "WORKDIR "))]
    found = dict(pair.split("=", 1) for instruction, *pairs in words if instruction == "ENV" for pair in pairs)
    [code] = [path for instruction, path, *_ in words if instruction == "WORKDIR"]
    return {name: value.replace(code, str(REPOSITORY)) for name, value in found.items() if name not in _OWN}
