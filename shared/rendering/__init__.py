"""What a base model's tokenizer and template make of a row, for validator, trainer, preview; light: no torch."""
