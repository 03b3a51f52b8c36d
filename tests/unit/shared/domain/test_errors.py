"""The errors and their drawing."""

from __future__ import annotations

import re

from shared.domain import errors


def test_the_drawing_shows_every_error_class_and_no_other() -> None:
    assert errors.__doc__ is not None
    drawn = re.findall(r"^([├└]|│   └)── (\w+)", errors.__doc__, re.MULTILINE)
    here = [cls for cls in errors.DroptuneError.__subclasses__() if cls.__module__ == errors.__name__]
    children = [child for cls in here for child in cls.__subclasses__()]
    assert [name for line, name in drawn if "│" not in line] == [cls.__name__ for cls in here]
    assert [name for line, name in drawn if "│" in line] == [cls.__name__ for cls in children]
    assert [grandchild for cls in children for grandchild in cls.__subclasses__()] == []


def test_every_failure_class_has_a_retry_rule() -> None:
    assert errors.RETRY_RULES.keys() == set(errors.FailureClass)
