"""The dataset validator, used by the function and by the CPU job. Entry point: `validator.validate`.

Nothing is imported here: who reads a recipe alone loads no reader of datasets.
"""
