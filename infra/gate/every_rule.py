"""Every rule: importing the modules registers them."""

from infra.gate import access, names, product, properties, shape
from infra.gate.finding import RULES, check_all

__all__ = ["RULES", "access", "check_all", "names", "product", "properties", "shape"]
