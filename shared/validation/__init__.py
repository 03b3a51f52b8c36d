"""The dataset validator (`validator.validate`). It imports nothing: who reads a recipe loads no reader of datasets."""
