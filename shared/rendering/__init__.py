"""What a base model's tokenizer and chat template make of a row; one code for validator, trainer and preview.

Light: `tokenizers` and `jinja2`, neither torch nor transformers.
"""

from shared.rendering.bundle import Bundle, read_bundle, read_bundle_folder
from shared.rendering.check import TokenCheck
from shared.rendering.export import export_bundle, read_exported
from shared.rendering.rows import Rendered, Tokens, normalized, render_row, tokenize
from shared.rendering.template import ChatTemplate, TemplateNotTrainable

__all__ = [
    "Bundle",
    "ChatTemplate",
    "Rendered",
    "TemplateNotTrainable",
    "TokenCheck",
    "Tokens",
    "export_bundle",
    "normalized",
    "read_bundle",
    "read_bundle_folder",
    "read_exported",
    "render_row",
    "tokenize",
]
