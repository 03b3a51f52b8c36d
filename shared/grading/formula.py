"""`calculate_output` of a multi grader: arithmetic over named scores, read with `ast`, never evaluated as Python."""

import ast
import itertools
import math
import operator
from collections.abc import Callable, Collection, Mapping

from shared.grading.errors import GradingErrorCode, GradingFailed

_BINARY: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: math.pow,
}
_UNARY: dict[type[ast.unaryop], Callable[[float], float]] = {ast.UAdd: operator.pos, ast.USub: operator.neg}
_ONE: dict[str, Callable[[float], float]] = {
    "abs": abs,
    **{name: getattr(math, name) for name in ("floor", "ceil", "exp", "sqrt", "log")},
}
_MANY: dict[str, Callable[..., float]] = {"min": min, "max": max}
FUNCTIONS = frozenset(_ONE) | frozenset(_MANY)


class Formula:
    """Raises ValueError in plain words if it cannot be read, or fails or leaves 0 to 1 where parts are 0 or 1."""

    def __init__(self, text: str, names: Collection[str]) -> None:
        taken = FUNCTIONS & set(names)
        if taken:
            raise ValueError(f"{min(taken)} is a function, no name of a grader")
        try:
            # `^` binds in Python looser than `+`, `**` as arithmetic has it.
            self._tree = ast.parse(text.replace("^", "**").strip(), mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            raise ValueError("not a formula") from error
        try:
            self._require_working(names)
        except RecursionError as error:
            raise ValueError("it is nested too deeply") from error

    def _require_working(self, names: Collection[str]) -> None:
        used = self._check(self._tree, names)
        unused = set(names) - used
        if unused:
            raise ValueError(f"{min(unused)} is not used")
        for corner in itertools.product((0.0, 1.0), repeat=len(names)):
            parts = dict(zip(names, corner, strict=True))
            try:
                self(parts)
            except GradingFailed as error:
                at = ", ".join(f"{name} = {value:.0f}" for name, value in parts.items())
                raise ValueError(f"{error.message}, where {at}") from error

    def __call__(self, parts: Mapping[str, float]) -> float:
        """The output for one answer's parts. Raises GradingFailed where arithmetic fails or it is not in 0..1."""
        try:
            value = _value(self._tree, parts)
        except (ArithmeticError, ValueError) as error:
            raise GradingFailed(GradingErrorCode.FORMULA, f"calculate_output fails ({type(error).__name__})") from error
        if not 0 <= value <= 1:
            raise GradingFailed(GradingErrorCode.FORMULA, f"calculate_output is {value:g}, a score is 0 to 1")
        return value

    def _check(self, node: ast.expr, names: Collection[str]) -> set[str]:
        """The graders that are used, each node being one that arithmetic has."""
        match node:
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
                return self._check(left, names) | self._check(right, names)
            case ast.UnaryOp(op=op, operand=operand) if type(op) in _UNARY:
                return self._check(operand, names)
            case ast.Constant(value=value) if type(value) in (int, float):
                return set()
            case ast.Name(id=name) if name in names:
                return {name}
            case ast.Name(id=name):
                raise ValueError(f"{name} is no grader of this multi")
            case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]) if name in FUNCTIONS:
                if (len(arguments) != 1) if name in _ONE else not arguments:
                    raise ValueError(f"{name} takes {'one value' if name in _ONE else 'at least one value'}")
                return set().union(*(self._check(argument, names) for argument in arguments))
        raise ValueError(f"{ast.unparse(node)}: + - * / ^ and {', '.join(sorted(FUNCTIONS))} are all there is")


def _value(node: ast.expr, parts: Mapping[str, float]) -> float:
    match node:
        case ast.BinOp(left=left, op=op, right=right):
            return _BINARY[type(op)](_value(left, parts), _value(right, parts))
        case ast.UnaryOp(op=sign, operand=operand):
            return _UNARY[type(sign)](_value(operand, parts))
        case ast.Constant(value=value):
            return float(value)  # type: ignore[arg-type]  # a number: checked when it was read
        case ast.Name(id=name):
            return parts[name]
        case ast.Call(func=ast.Name(id=name), args=arguments):
            values = [_value(argument, parts) for argument in arguments]
            return float(_ONE[name](values[0]) if name in _ONE else max(values) if name == "max" else min(values))
    raise AssertionError(node)
