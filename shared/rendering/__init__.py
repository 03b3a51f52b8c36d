"""What a base model's tokenizer and chat template make of a row; one code for validator, trainer and preview.

Light: `tokenizers` and `jinja2`, neither torch nor transformers.
"""
