"""Count the sizes of the house: files and lines by room, lengths of functions, comments, untyped dictionaries, twins.

Run: ``python -m tests.count_house``, or with the folder of another checkout: ``python -m tests.count_house FOLDER``.
`tests/test_house.py` holds the same counts against their bounds.
"""

from __future__ import annotations

import ast
import io
import re
import subprocess
import sys
import tokenize
from collections import defaultdict
from functools import cache
from pathlib import Path
from statistics import median, quantiles
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent
SHARED_NAMES = {"__init__", "__main__", "base", "page", "plots", "tables", "facts", "conftest"}
"""File names that may stand more than once: what they are is said by their folder."""
BANNED = frozenset({"told", "said", "heard", "asked", "one", "found", "place", "thing"})
_UNTYPED = re.compile(r"\bdict\[str, Any\]")


def sources(root: Path) -> list[Path]:
    """Return every Python file of the application that git knows, tests and benchmarks left out; oldest checkouts too."""
    listed = subprocess.run(
        ["git", "ls-files", "*.py"], cwd=root, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    return [
        root / name for name in sorted(set(listed)) if "/" in name and not name.startswith(("tests/", "benchmarks/"))
    ]


def room_of(path: Path, root: Path) -> str:
    """Return the room a file lies in: its top folder, or under models the folder below."""
    parts = path.relative_to(root).parts
    return "/".join(parts[:2]) if parts[0] == "models" and len(parts) > 2 else parts[0]


@cache
def tree_of(path: Path) -> ast.Module:
    """Parse a file once."""
    return ast.parse(path.read_text(encoding="utf-8"))


def functions(path: Path) -> Iterator[tuple[str, int]]:
    """Yield every function and method with its lines, signature and docstring included, decorators left out."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, (node.end_lineno or node.lineno) - node.lineno + 1


def classes(path: Path) -> list[str]:
    """Return the names of all classes of a file."""
    return [node.name for node in ast.walk(tree_of(path)) if isinstance(node, ast.ClassDef)]


def twins(pairs: Iterator[tuple[str, str]]) -> dict[str, list[str]]:
    """Return what stands more than once, with every file it stands in; of pairs (name, file)."""
    files = defaultdict(list)
    for name, file in pairs:
        files[name].append(file)
    return {name: where for name, where in sorted(files.items()) if len(where) > 1}


def file_twins(root: Path) -> dict[str, list[str]]:
    """Return file names that stand more than once."""
    return twins((p.stem, str(p.relative_to(root))) for p in sources(root) if p.stem not in SHARED_NAMES)


def class_twins(root: Path) -> dict[str, list[str]]:
    """Return class names that stand more than once."""
    return twins((name, str(p.relative_to(root))) for p in sources(root) for name in classes(p))


def banned_names(path: Path) -> list[str]:
    """Return ``line: name`` of every variable, argument, function, attribute, field or alias with a banned name."""
    hits = []
    for node in ast.walk(tree_of(path)):
        name: str | None = None
        if isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Store):
            name = node.id if isinstance(node, ast.Name) else node.attr
        elif isinstance(node, ast.arg):
            name = node.arg
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            name = node.name
        elif isinstance(node, ast.alias):
            name = node.asname
        elif isinstance(node, ast.ExceptHandler | ast.MatchAs):
            name = node.name
        if name is not None and name.strip("_") in BANNED:
            hits.append(f"{getattr(node, 'lineno', 0)}: {name}")
    return hits


def _docstrings(path: Path) -> set[int]:
    """Return the lines of all docstrings, those beside fields included."""
    lines: set[int] = set()
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            lines.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return lines


def comments_and_code(path: Path) -> tuple[int, int]:
    """Return lines with a comment, and lines of code; docstrings and blank lines are neither."""
    comments, code, skipped = set(), set(), _docstrings(path)
    silent = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    for token in tokenize.generate_tokens(io.StringIO(path.read_text(encoding="utf-8")).readline):
        if token.type == tokenize.COMMENT and not re.match(r"#\s*(noqa|type:|fmt:)", token.string):
            comments.add(token.start[0])
        if token.type not in silent:
            code.update(range(token.start[0], token.end[0] + 1))
    return len(comments), len(code - skipped)


def untyped_signatures(root: Path) -> dict[str, list[str]]:
    """Return public functions with ``dict[str, Any]`` in their signature that another room imports, with the rooms."""
    files = {".".join(path.relative_to(root).with_suffix("").parts): path for path in sources(root)}
    users = defaultdict(set)
    for path in files.values():
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.ImportFrom) and node.module in files:
                other = files[node.module]
                for alias in node.names:
                    if room_of(path, root) != room_of(other, root):
                        users[node.module, alias.name].add(room_of(path, root))
    hits = {}
    for (module, name), rooms in users.items():
        for node in tree_of(files[module]).body:
            if getattr(node, "name", None) == name and any(_UNTYPED.search(text) for text in _signatures(node)):
                hits[f"{module}.{name}"] = sorted(rooms)
    return dict(sorted(hits.items()))


def _signatures(node: ast.AST) -> Iterator[str]:
    """Yield the annotations of a function, or of a class's fields and public methods."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        arguments = (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)
        for annotation in (*(argument.annotation for argument in arguments), node.returns):
            if annotation is not None:
                yield ast.unparse(annotation)
    elif isinstance(node, ast.ClassDef):
        for child in node.body:
            if isinstance(child, ast.AnnAssign):
                yield ast.unparse(child.annotation)
            elif not getattr(child, "name", "_").startswith("_"):
                yield from _signatures(child)


def imported_modules(path: Path) -> set[str]:
    """Return the full names of the modules a file imports, also inside functions."""
    nodes = list(ast.walk(tree_of(path)))
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return names | {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module}


def table(root: Path) -> Iterator[tuple[str, str]]:
    """Yield every figure with its name."""
    files = sources(root)
    lines = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in files}
    rooms = defaultdict(list)
    for path in files:
        rooms[path.relative_to(root).parts[0]].append(path)
    yield "files", f"{len(files)}, median {median(lines.values()):g} lines, longest {max(lines.values())}"
    yield "lines", f"{sum(lines.values()):,}"
    for room, own in sorted(rooms.items(), key=lambda pair: -sum(lines[path] for path in pair[1])):
        count = sum(lines[path] for path in own)
        yield f"  {room}", f"{count:,} lines in {len(own)} files, {100 * count / sum(lines.values()):.0f} %"
    lengths = sorted(length for path in files for _, length in functions(path))
    high = quantiles(lengths, n=10)[-1]
    yield (
        "functions",
        f"{len(lengths):,}, median {median(lengths):g} lines, P90 {high:g}, {sum(n > 50 for n in lengths)} over 50",
    )
    counts = [comments_and_code(path) for path in files]
    comments, code = (sum(column) for column in zip(*counts, strict=True))
    yield "comments per 100 lines of code", f"{100 * comments / code:.1f} ({comments:,} of {code:,})"
    untyped = sum(len(_UNTYPED.findall(line)) > 0 for path in files for line in path.read_text().splitlines())
    yield "lines with dict[str, Any]", f"{untyped}, {len(untyped_signatures(root))} signatures used by another room"
    yield "file names that stand twice or more", str(len(file_twins(root)))
    yield "class names that stand twice or more", str(len(class_twins(root)))
    yield "banned identifiers", str(sum(len(banned_names(path)) for path in files))
    for folder in ("tests", "benchmarks"):
        listed = list((root / folder).rglob("*.py"))
        yield (
            f"besides: {folder}",
            f"{sum(len(path.read_text().splitlines()) for path in listed):,} lines in {len(listed)} files",
        )


def main(arguments: list[str]) -> None:
    """Print the table for this checkout, or for the one that is named."""
    root = Path(arguments[0]).resolve() if arguments else ROOT
    rows = list(table(root))
    width = max(len(name) for name, _ in rows)
    for name, figure in rows:
        print(f"{name:<{width}}  {figure}")


if __name__ == "__main__":
    main(sys.argv[1:])
