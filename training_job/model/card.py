"""The model card (README.md) of a merged model: what the license of its base asks for and bars; and that license."""

import json
import shutil

from shared.domain.licenses import USES
from shared.rendering.bundle import license_files
from training_job.job.setup import Setup


def write_card(setup: Setup, data_version: str) -> None:
    """Into the merged folder, so that copies of it go out with both."""
    recipe, folder = setup.recipe.requested, setup.output / "model" / "merged"
    terms = setup.recipe.entry.terms
    shipped = license_files(setup.base_model)
    # As Hugging Face reads it: `license_link` is a file beside it, or a URL.
    link = next(iter([*(file.name for file in shipped), *terms.texts]), "README.md")
    named = {"license": "other", "license_name": terms.id, "license_link": link}
    named = {"license": terms.id.lower()} if terms.id in ("Apache-2.0", "MIT") else named
    head = {"base_model": recipe.base_model, "library_name": "transformers", **named}
    lines = ["---", *(f"{key}: {json.dumps(value)}" for key, value in head.items()), "---"]
    lines += [f"# {setup.recipe.project}: {recipe.base_model}, tuned on data version {data_version}"]
    lines += ["", "## Use", "", recipe.use_case, *(f"- {use}" for use in recipe.intended_uses or ())]
    lines += ["", "## License", "", f"{terms.id}. It asks for:", "", *(f"- {asks}" for asks in terms.obligations)]
    lines += ["", "It bars:", "", *([f"- {use}: {USES[use]}" for use in terms.barred_uses] or ["- nothing"])]
    lines += ["", "Its texts:", "", *(f"- <{place}>" for place in terms.texts)]
    (folder / "README.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    for file in shipped:
        shutil.copyfile(file, folder / file.name)
