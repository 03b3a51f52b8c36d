"""What the images give to every job and server: the variables that their Dockerfiles set.

A job here finds our code only if the image says where it is, for Azure ML starts a command in a folder of its own.
"""

import re
import shlex
from pathlib import Path

from local_stack.paths import REPOSITORY

TRAINING = REPOSITORY / "training_job" / "Dockerfile"
SERVING = REPOSITORY / "infra" / "environments" / "serving" / "Dockerfile"
_CODE, TMP = "/app", "{tmp}"
# Of this machine and not of the image: its programs, and a home that nobody can use (`processes.container`).
_OWN = ("PATH", "HOME")


def variables_of(dockerfile: Path) -> dict[str, str]:
    """Its ENV instructions, with the repository in the place of the folder of our code, and TMP in that of /tmp."""
    joined = dockerfile.read_text().replace("\\\n", " ").splitlines()
    found = dict(pair.split("=", 1) for line in joined if line.startswith("ENV ") for pair in shlex.split(line)[1:])
    own = {name: re.sub("^/tmp", TMP, value) for name, value in found.items() if name not in _OWN}
    return {name: value.replace(_CODE, str(REPOSITORY)) for name, value in own.items()}
