"""Collects what a person may read, keeps the catalogues complete, and writes docs/errors.md.

usage: python script/i18n.py extract   add new texts to the catalogues, drop those that are gone
       python script/i18n.py check     say what is missing, empty, left over or has other gaps (exit 1)
       python script/i18n.py errors    write docs/errors.md

What is collected:
- brief, why and resolution of every subclass of SekisoError;
- the first argument of _(), N_(), translate(), say(), mark() and .step(), both texts of plural(), titles of
  the steps of flows;
- of the command line: help texts, paragraphs of a command's docstring, labels of pairs, table headings;
- of the console's templates: the first argument of _();
- words given to an error as a parameter (`what="The layer file"`);
- every other plain sentence in the source that is no docstring: reasons, remedies, notes. A sentence with
  values in it (an f-string) becomes a template with named gaps; see `sekiso.i18n.translate`.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import io
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.pofile import read_po, write_po
from jinja2 import Environment, nodes

from sekiso.errors import SekisoError, gaps
from sekiso.i18n import LANGUAGES

REPOSITORY = Path(__file__).parents[1]
SOURCE = REPOSITORY / "src"
MARKERS = {"_", "N_", "translate", "step", "say", "mark"}
#: Parameters of errors that are data, not words.
DATA_PARAMETERS = {"path", "command", "tool", "package", "field", "code", "name"}
#: Words that reach errors through variables: states of machines, what is done to one, what is awaited.
WORDS = (
    *("off", "starting", "running", "paused", "stopping", "saved", "critical"),
    *("off or running", "off or saved", "running or paused"),
    *("be started", "be shut down", "be deleted", "show its screen", "take keys"),
    *("attach a disk", "attach an IDE disk", "detach a disk", "detach an IDE disk"),
    *("a complete report", "to switch itself off", "none"),
    *("A blob", "The blob table", "The XML data", "The image metadata"),
)
_ERROR_CLASS = re.compile(r"^class \w+\(\w*Error\):", re.MULTILINE)
_SENTENCE = re.compile(r"[A-Z{].*\s.*\s.*[.!?…]", re.DOTALL)


def error_classes() -> list[type[SekisoError]]:
    """Every error class of the package, by code."""
    for path in SOURCE.rglob("*.py"):
        if _ERROR_CLASS.search(path.read_text(encoding="utf-8")):
            importlib.import_module(".".join(path.relative_to(SOURCE).with_suffix("").parts))
    found: list[type[SekisoError]] = []
    waiting = [SekisoError]
    while waiting:
        cls = waiting.pop()
        if cls.__module__.startswith("sekiso."):
            found.append(cls)
        waiting += cls.__subclasses__()
    return sorted(set(found), key=lambda c: (c.code, c.__module__, c.__name__))


def template_of(node: ast.AST) -> str | None:
    """Return the text of a string literal; an f-string becomes a template with named gaps."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if not isinstance(node, ast.JoinedStr):
        return None
    parts: list[str] = []
    used: set[str] = set()
    for part in node.values:
        if isinstance(part, ast.Constant):
            parts.append(str(part.value))
        elif isinstance(part, ast.FormattedValue):
            parts.append("{" + _gap_name(part.value, used) + "}")
    return "".join(parts)


def _gap_name(value: ast.expr, used: set[str]) -> str:
    first = _word_for(value).lower().strip("_") or "value"
    name, number = first, 2
    while name in used:
        name, number = f"{first}{number}", number + 1
    used.add(name)
    return name


def _word_for(value: ast.AST) -> str:
    """Return the word that says best what an expression is: a variable's name, mostly."""
    match value:
        case ast.Name(id=name):
            return name
        case ast.Attribute(value=inner, attr=name):
            return _word_for(inner) if name == "value" else name
        case ast.Call(func=ast.Attribute(value=ast.Name() | ast.Attribute() as inner), args=[]):
            return _word_for(inner)
        case ast.Call(args=[first, *_]):
            return _word_for(first)
        case (
            ast.GeneratorExp(elt=inner)
            | ast.ListComp(elt=inner)
            | ast.IfExp(body=inner)
            | ast.BinOp(left=inner)
        ):
            return _word_for(inner)
        case ast.Subscript(value=inner):
            return _word_for(inner)
        case _:
            return "value"


def is_sentence(text: str) -> bool:
    """Whether a literal reads like a sentence for people; multi-line texts are files and scripts."""
    words = re.sub(r"{\w+}", "", text)
    return "\n" not in text and bool(_SENTENCE.fullmatch(text)) and len(re.findall(r"[a-z]{2,}", words)) >= 2


def _is_click_command(decorator: ast.expr) -> bool:
    match decorator:
        case ast.Call(func=ast.Attribute(attr="command" | "group")):
            return True
        case _:
            return False


class Collector(ast.NodeVisitor):
    """Gathers the texts of one module."""

    def __init__(self) -> None:
        self.texts: list[tuple[str, int]] = []
        self._seen: set[int] = set()

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        for statement in node.body:
            match statement:
                case ast.Assign(targets=[ast.Name(id=name)], value=value):
                    pass
                case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                    pass
                case _:
                    continue
            if name in ("brief", "why", "resolution"):
                self._take(value)
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        function = node.func
        name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
        if name in MARKERS and node.args:
            self._take(node.args[0])
        if name == "Step" and len(node.args) > 1:
            self._take(node.args[1])
        if name == "plural":
            for argument in node.args[1:]:
                self._take(argument)
        if name in ("print_pairs", "print_table") and node.args:
            self._labels(node.args[0])
        for keyword in node.keywords:
            is_word = name.endswith("Error") and keyword.arg and keyword.arg not in DATA_PARAMETERS
            if is_word or keyword.arg in ("help", "short_help"):
                self._take(keyword.value)
        self.generic_visit(node)

    def _labels(self, node: ast.expr) -> None:
        for item in node.elts if isinstance(node, ast.List) else ():
            self._take(item.elts[0] if isinstance(item, ast.Tuple) else item)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        if any(_is_click_command(d) for d in node.decorator_list):
            self._help(node)
        self.generic_visit(node)

    def _help(self, node: ast.FunctionDef) -> None:
        for paragraph in inspect.cleandoc(ast.get_docstring(node) or "").split("\n\n"):
            if paragraph and paragraph[0] != " ":
                self.texts.append((" ".join(paragraph.split()), node.lineno))

    def visit_Expr(self, node: ast.Expr) -> None:
        if not isinstance(node.value, ast.Constant):  # a docstring, or a string that nobody reads
            self.generic_visit(node)

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        self._sentence(node)
        for part in node.values:
            if isinstance(part, ast.FormattedValue):
                self.generic_visit(part)

    def visit_Constant(self, node: ast.Constant) -> None:
        self._sentence(node)

    def _sentence(self, node: ast.Constant | ast.JoinedStr) -> None:
        text = template_of(node)
        if text is not None and is_sentence(text):
            self._take(node)

    def _take(self, node: ast.AST) -> None:
        text = template_of(node)
        if text and id(node) not in self._seen and re.search(r"[A-Za-z]{2}", re.sub(r"{\w+}", "", text)):
            self._seen.add(id(node))
            self.texts.append((text, getattr(node, "lineno", 0)))


def source_texts() -> Iterator[tuple[str, str]]:
    """Yield every text and the file it stands in."""
    yield from ((word, "sekiso/hypervisors/facts.py") for word in WORDS)
    for path in sorted(SOURCE.rglob("*.py")):
        collector = Collector()
        collector.visit(ast.parse(path.read_text(encoding="utf-8")))
        for text, _ in collector.texts:
            yield text, path.relative_to(SOURCE).as_posix()
    for path in sorted((SOURCE / "sekiso" / "console" / "templates").rglob("*.html")):
        for text in template_texts(path):
            yield text, path.relative_to(SOURCE).as_posix()


def template_texts(path: Path) -> Iterator[str]:
    """Yield the texts of a template of the console."""
    tree = Environment(autoescape=True).parse(path.read_text(encoding="utf-8"), filename=str(path))
    for call in tree.find_all(nodes.Call):
        if isinstance(call.node, nodes.Name) and call.node.name == "_":
            text = call.args[0] if call.args else None
            if not isinstance(text, nodes.Const):
                raise SystemExit(f"{path}:{call.lineno}: the text of _() is no literal")
            yield str(text.value)


def collect() -> dict[str, set[str]]:
    """Return every text with the files it stands in."""
    found: dict[str, set[str]] = {}
    for text, where in source_texts():
        found.setdefault(text, set()).add(where)
    return found


def catalogue_path(language: str) -> Path:
    return SOURCE / "sekiso" / "locale" / language / "LC_MESSAGES" / "sekiso.po"


def read_catalogue(language: str) -> Catalog:
    with catalogue_path(language).open("rb") as stream:
        return read_po(stream, locale=language)


def translations(language: str) -> dict[str, str]:
    return {str(m.id): str(m.string) for m in read_catalogue(language) if m.id}


def extract(language: str) -> None:
    """Rewrite a catalogue: every text, in order, with the translations that were there."""
    old = translations(language)
    new = Catalog(locale=language, project="Sekiso", fuzzy=False, charset="utf-8")
    for text, places in sorted(collect().items(), key=lambda item: (min(item[1]), item[0])):
        new.add(text, old.get(text, ""), locations=[(p, 0) for p in sorted(places)])
    buffer = io.BytesIO()
    write_po(buffer, new, width=0, omit_header=True, include_lineno=False)
    header = (
        f"# Sekiso, {language}. Keyed by the English text; kept by script/i18n.py.\n"
        'msgid ""\nmsgstr ""\n"Project-Id-Version: Sekiso\\n"\n'
        f'"Language: {language}\\n"\n"MIME-Version: 1.0\\n"\n'
        '"Content-Type: text/plain; charset=utf-8\\n"\n"Content-Transfer-Encoding: 8bit\\n"\n\n'
    )
    catalogue_path(language).write_bytes(header.encode() + buffer.getvalue().strip() + b"\n")
    empty = sum(not m.string for m in new if m.id)
    print(f"{language}: {len(new)} texts, {empty} without a translation")


def problems(language: str) -> Iterator[str]:
    """Yield what is wrong with a catalogue, a line each."""
    texts = collect()
    catalogue = read_catalogue(language)
    known: dict[str, str] = {}
    for message in catalogue:
        if not message.id:
            continue
        text, translation = str(message.id), str(message.string)
        known[text] = translation
        if message.fuzzy:
            yield f"fuzzy: {text}"
        if text not in texts:
            yield f"left over: {text}"
        elif not translation:
            yield f"empty: {text}"
        elif gaps(text) != gaps(translation):
            yield f"other gaps: {text} -> {translation}"
    yield from (f"missing: {text} ({', '.join(sorted(texts[text]))})" for text in texts if text not in known)


def errors_page() -> str:
    """Return docs/errors.md: each error by its code, in every language."""
    lines = [
        "# Errors",
        "",
        "Made by `python script/i18n.py errors` from the error classes and the catalogues; do not edit.",
        "",
        "An error has a stable code, and a family that decides the exit status of the command line.",
        "`{gaps}` are filled with what happened. With `--json` the command line prints code, family,",
        "parameters and texts.",
        "",
    ]
    tables = {language: translations(language) for language in LANGUAGES if language != "en"}
    for cls in error_classes():
        summary = (cls.__doc__ or "").strip().splitlines()[0].partition(" Params:")[0]
        retry = ", worth a retry" if cls.retryable else ""
        lines += [
            f"## {cls.code}",
            "",
            f"{summary} Exit status {cls.family.value} ({cls.family.name.lower()}){retry}.",
            "",
        ]
        lines += ["| | en | " + " | ".join(tables) + " |", "|---|---|" + "---|" * len(tables)]
        for label, text in (("what", cls.brief), ("why", cls.why), ("what to do", cls.resolution)):
            cells = [text, *(table.get(text, text) for table in tables.values())]
            if text:
                lines.append(
                    f"| {label} | "
                    + " | ".join(c.replace("|", "\\|").replace("\n", " ") for c in cells)
                    + " |"
                )
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def main() -> int:
    command = sys.argv[1] if len(sys.argv) == 2 else ""
    others = [language for language in LANGUAGES if language != "en"]
    if command == "extract":
        for language in others:
            extract(language)
        return 0
    if command == "check":
        found = [f"{language}: {line}" for language in others for line in problems(language)]
        if (REPOSITORY / "docs" / "errors.md").read_text(encoding="utf-8") != errors_page():
            found.append("docs/errors.md is out of date: python script/i18n.py errors")
        print("\n".join(found) or "every text is translated")
        return 1 if found else 0
    if command == "errors":
        (REPOSITORY / "docs" / "errors.md").write_text(errors_page(), encoding="utf-8")
        return 0
    print(__doc__)
    return 2


if __name__ == "__main__":
    sys.exit(main())
