"""Prints what the source looks like in numbers. It only tells; nothing fails by it.

usage: python script/metrics.py [folder of the package]
"""

from __future__ import annotations

import ast
import statistics
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

LONG_FUNCTION_LINES = 40
LONG_FILE_LINES = 400
HEADING = (
    f"{'package':<14}{'files':>6}{'lines':>8}{'funcs':>8}{'median':>8}"
    f"{'>' + str(LONG_FUNCTION_LINES):>6}{'typed':>8}{'documented':>12}"
)
Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass
class Count:
    """What was counted in one package."""

    files: int = 0
    lines: int = 0
    function_lines: list[int] = field(default_factory=list)
    typed: int = 0
    public: int = 0
    documented: int = 0

    def add(self, other: Count) -> None:
        self.files += other.files
        self.lines += other.lines
        self.function_lines += other.function_lines
        self.typed += other.typed
        self.public += other.public
        self.documented += other.documented

    def row(self, name: str) -> str:
        functions = len(self.function_lines)
        median = statistics.median(self.function_lines) if functions else 0
        long = sum(n > LONG_FUNCTION_LINES for n in self.function_lines)
        return (
            f"{name:<14}{self.files:>6}{self.lines:>8}{functions:>8}{median:>8g}{long:>6}"
            f"{share(self.typed, functions):>8}{share(self.documented, self.public):>12}"
        )


def share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.0f} %" if whole else "-"


def is_typed(function: Function, *, method: bool) -> bool:
    """Whether every parameter (but self and cls) and the result have an annotation."""
    args = function.args
    named = [*args.posonlyargs, *args.args]
    if (
        method
        and named
        and not any(isinstance(d, ast.Name) and d.id == "staticmethod" for d in function.decorator_list)
    ):
        named = named[1:]
    every = [*named, *args.kwonlyargs, *filter(None, (args.vararg, args.kwarg))]
    return function.returns is not None and all(a.annotation is not None for a in every)


def definitions(
    node: ast.AST, *, public: bool = True, in_class: bool = False
) -> Iterator[tuple[ast.AST, bool, bool]]:
    """Yield functions and classes with: is it public (never inside a function), is it a method."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            seen = public and not child.name.startswith("_")
            yield child, seen, in_class
            inside = isinstance(child, ast.ClassDef)
            yield from definitions(child, public=seen and inside, in_class=inside)
        else:
            yield from definitions(child, public=public, in_class=in_class)


def count_file(path: Path) -> Count:
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text, str(path))
    count = Count(files=1, lines=text.count("\n"))
    documentable: list[ast.AST] = [tree] if text.strip() else []
    for node, public, method in definitions(tree):
        if isinstance(node, Function):
            count.function_lines.append((node.end_lineno or node.lineno) - node.lineno + 1)
            count.typed += is_typed(node, method=method)
        if public:
            documentable.append(node)
    count.public = len(documentable)
    count.documented = sum(ast.get_docstring(n) is not None for n in documentable)  # pyright: ignore[reportArgumentType]
    return count


def package_of(relative: Path) -> str:
    return "(top)" if str(relative) == "__init__.py" else relative.parts[0].removesuffix(".py")


def main() -> None:
    root = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1] / "src" / "sekiso"
    packages: defaultdict[str, Count] = defaultdict(Count)
    total = Count()
    long_files: list[str] = []
    for path in sorted(root.rglob("*.py")):
        count = count_file(path)
        packages[package_of(path.relative_to(root))].add(count)
        total.add(count)
        if count.lines > LONG_FILE_LINES:
            long_files.append(f"{path.relative_to(root)} ({count.lines})")
    print(HEADING)
    for name, count in sorted(packages.items()):
        print(count.row(name))
    print(total.row("all"))
    print(f"files over {LONG_FILE_LINES} lines: {', '.join(long_files) or 'none'}")


if __name__ == "__main__":
    main()
