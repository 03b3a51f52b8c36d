"""`policy show` and `policy apply`: what no recipe may go beyond, and the projects with their members."""

from pathlib import Path
from typing import Annotated

import typer
import yaml
from pydantic import ValidationError

from cli.client import Api, find_url
from cli.exit_codes import InputError
from cli.options import Url
from shared.domain.policy import PlatformPolicy

policy_app = typer.Typer(help="Show and apply the platform's policy.", no_args_is_help=True)


@policy_app.command()
def show(
    version: Annotated[int | None, typer.Option(min=1, help="instead of the one in force")] = None, url: Url = None
) -> None:
    """Show the policy as `apply` takes it, and who applied it."""
    with Api(find_url(url)) as api:
        applied = api.policy(version)
    who = f"applied by {applied.by} at {applied.at:%Y-%m-%d %H:%M} UTC" if applied.at else "none was applied"
    print(f"# version {applied.version}, {who}")
    print(yaml.safe_dump(applied.policy.model_dump(mode="json", exclude_unset=True), sort_keys=False), end="")


@policy_app.command()
def apply(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, readable=True)],
    replacing: Annotated[int | None, typer.Option(min=0, help="the version that FILE was made from")] = None,
    url: Url = None,
) -> None:
    """Put the policy of FILE (YAML) in force. Runs under way are held to it in their next step."""
    try:
        policy = PlatformPolicy.model_validate(yaml.safe_load(file.read_bytes()) or {})
    except yaml.YAMLError as error:
        raise InputError(f"{file} is no YAML: {error}") from error
    except ValidationError as error:
        places = (".".join(map(str, one["loc"])) for one in error.errors())
        lines = (f"  {place or 'policy'}: {one['msg']}" for place, one in zip(places, error.errors(), strict=True))
        raise InputError("\n".join((f"{file} is no policy:", *lines))) from error
    with Api(find_url(url)) as api:
        replaced = api.policy().version if replacing is None else replacing
        applied = api.apply_policy(policy.model_dump(mode="json", exclude_unset=True), replacing=replaced)
    print(f"version {applied.version} of the policy is in force, in the place of version {replaced}")
