"""The dataset validator (`validator.validate`). Nothing is imported here: who reads a recipe loads no reader of
datasets."""
