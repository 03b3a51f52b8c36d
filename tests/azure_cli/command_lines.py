"""`python -m tests.azure_cli.command_lines`: every `az` command line of the hooks, the documentation and the smoke
test, parsed by the real Azure CLI. Runs in `.venv-azure-cli`. One line per command line that it refuses; exit code 1 if
there is one.

What a shell would put in for a variable is `x`. Queries are compiled, since the CLI does that when it parses. Not
parsed: `az ml`, whose extension is on no package index; test_environments_hook.py has what stands in for it.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import re
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tree_sitter_bash
from tree_sitter import Language, Node, Parser

ROOT = Path(__file__).parents[2]
HOOKS = ROOT / "infra" / "hooks"
# A block of code, indented or fenced, of a Markdown page; and code in a line that has an option.
_BLOCK = re.compile(r"(?:^ {4,}.*\n?)+|^```.*\n(?s:.*?)^```", re.MULTILINE)
_IN_LINE = re.compile(r"`(az [^`]* --?[a-z][^`]*)`")
_EXPANSIONS = {"simple_expansion", "expansion", "command_substitution", "arithmetic_expansion"}


@dataclass(frozen=True, slots=True)
class CommandLine:
    where: str
    words: tuple[str, ...]


def of_script(text: str, where: str) -> Iterator[CommandLine]:
    """The command lines of a shell script; `where` is followed by the number of the line."""
    for node in _walk(_parser().parse(text.encode()).root_node):
        if node.type == "command":
            name, *words = _text(node.child_by_field_name("name")), *map(_word, node.children_by_field_name("argument"))
            # By itself, or handed to a function of the script.
            if "az" in (name, *words):
                first = 0 if name == "az" else words.index("az") + 1
                yield CommandLine(f"{where}:{node.start_point[0] + 1}", tuple(words[first:]))


def of_page(text: str, where: str) -> Iterator[CommandLine]:
    """The command lines in a Markdown page."""
    for found in _BLOCK.finditer(text):
        lines = text.count("\n", 0, found.start())
        # Empty lines in front keep the numbers of the lines.
        yield from of_script("\n" * lines + re.sub(r"^ +|^```.*", "", found[0], flags=re.MULTILINE), where)
    for found in _IN_LINE.finditer(re.sub(r"\s+", " ", text)):
        yield from (CommandLine(where, one.words) for one in of_script(found[1], where))


def of_smoke_test(table: dict[str, Any]) -> Iterator[CommandLine]:
    """Those of tests/smoke/smoke.toml; what is filled in is `x`."""
    for commands in (*(step.get("command", []) for step in table["step"]), table["known"], table["failed"]):
        for line in (command[key] for command in commands for key in ("run", "each") if key in command):
            if line[0] == "az":
                yield CommandLine("smoke.toml", tuple(re.sub(r"\{\w+\}", "x", word) for word in line[1:]))


def of_repository(root: Path = ROOT) -> list[CommandLine]:
    scripts = [one for path in sorted(root.glob("infra/hooks/*.sh")) for one in of_script(path.read_text(), path.name)]
    pages = [root / "README.md", *sorted((root / "docs").rglob("*.md"))]
    scripts += of_smoke_test(tomllib.loads((root / "tests" / "smoke" / "smoke.toml").read_text()))
    return scripts + [one for page in pages for one in of_page(page.read_text(), str(page.relative_to(root)))]


def refusal(words: tuple[str, ...]) -> str:
    """What the Azure CLI says against a command line; empty if it would run it."""
    from azure.cli.core import get_default_cli
    from knack.events import EVENT_INVOKER_POST_PARSE_ARGS

    def stop(*_: Any, **__: Any) -> None:
        raise SystemExit(0)

    cli, output = get_default_cli(), io.StringIO()
    cli.register_event(EVENT_INVOKER_POST_PARSE_ARGS, stop)
    for name in ("cli", "azure"):  # each command line writes to a stream of its own
        logging.getLogger(name).handlers.clear()
    with contextlib.redirect_stderr(output), contextlib.redirect_stdout(output):
        try:
            code = cli.invoke(list(words))
        except SystemExit as end:
            code = end.code
    return "" if code == 0 else next(iter(output.getvalue().strip().splitlines()), f"exit code {code}")


def _parser() -> Parser:
    return Parser(Language(tree_sitter_bash.language()))


def _walk(node: Node) -> Iterator[Node]:
    yield node
    for child in node.children:
        yield from _walk(child)


def _text(node: Node | None) -> str:
    return (node.text or b"").decode() if node else ""


def _word(node: Node) -> str:
    """An argument as the shell would give it."""
    if node.type in _EXPANSIONS:
        return "x"
    if node.type == "raw_string":
        return _text(node)[1:-1]
    if not node.named_children:
        return _text(node).strip('"').replace("\\", "")
    text, start, end = _text(node), node.start_byte, node.end_byte
    parts, last = [], start
    for child in node.named_children:
        parts += [text.encode()[last - start : child.start_byte - start].decode(), _word(child)]
        last = child.end_byte
    parts.append(text.encode()[last - start : end - start].decode())
    return "".join(parts).removeprefix('"').removesuffix('"')


def main() -> int:
    # Not what the person at this machine is signed in to, and nothing is reported.
    os.environ["AZURE_CONFIG_DIR"] = str(ROOT / ".venv-azure-cli" / "config")
    os.environ["AZURE_CORE_COLLECT_TELEMETRY"] = "0"
    import azure.cli.core

    found = of_repository()
    os.chdir(HOOKS)  # what their options name as @FILE is there
    parsed = [one for one in found if one.words[:1] != ("ml",)]
    refused = [(one, output) for one in parsed if (output := refusal(one.words))]
    for one, output in refused:
        print(f"{one.where}: az {' '.join(one.words)}\n    {output}")
    counts = f"{len(parsed)} command lines parsed, {len(refused)} refused; {len(found) - len(parsed)} of az ml left out"
    print(f"az {azure.cli.core.__version__}: {counts}")
    return 1 if refused or not parsed else 0


if __name__ == "__main__":
    sys.exit(main())
