"""Sample data of failure prediction, for the tiny base: the simulation of `manufacturing-failure` with small words."""

from importlib import import_module

from recipes.sample_data import Row


def generate() -> dict[str, list[Row]]:
    files: dict[str, list[Row]] = import_module("recipes.manufacturing-failure.generate").generate(__file__)
    return files
