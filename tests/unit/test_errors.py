"""Every error class: readable in both languages, stable as data."""

from __future__ import annotations

import importlib.util
import json
import pickle
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

from sekiso.errors import Family, SekisoError, fill, gaps
from sekiso.i18n import LANGUAGES, render_error, translate

REPOSITORY = Path(__file__).parents[2]


def load_script(name: str) -> ModuleType:
    """Load a program of the script folder as a module."""
    spec = importlib.util.spec_from_file_location(f"script_{name}", REPOSITORY / "script" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


CLASSES: list[type[SekisoError]] = load_script("i18n").error_classes()
EACH = pytest.mark.parametrize("cls", CLASSES, ids=lambda c: c.__name__)


def documented_params(cls: type[SekisoError]) -> set[str]:
    """Names after `Params:` in the docstring; words in brackets explain them."""
    text = re.sub(r"\([^)]*\)", "", (cls.__doc__ or "").partition("Params:")[2])
    return set(re.findall(r"[a-z]\w*", text.split(".")[0]))


def example(cls: type[SekisoError]) -> SekisoError:
    """An error with a recognisable value for each of its parameters."""
    return cls(**{name: f"<{name}>" for name in documented_params(cls)})


@EACH
def test_docstring_names_the_params_of_the_templates(cls: type[SekisoError]) -> None:
    used = gaps(cls.brief) | gaps(cls.why) | gaps(cls.resolution)
    assert used == documented_params(cls), "name each parameter after 'Params:' in the docstring"


@EACH
@pytest.mark.parametrize("language", LANGUAGES)
def test_renders_every_param_and_leaves_no_gap(cls: type[SekisoError], language: str) -> None:
    brief, why, resolution = render_error(example(cls), language)
    assert brief
    assert not re.search(r"[{}]", brief + why + resolution)
    for name in documented_params(cls):
        assert f"<{name}>" in brief + why + resolution


@EACH
def test_japanese_is_japanese(cls: type[SekisoError]) -> None:
    for text in (cls.brief, cls.why, cls.resolution):
        if re.sub(r"{\w+}", "", text).strip():
            assert re.search(r"[぀-ヿ一-鿿]", translate(text, "ja")), text


@EACH
def test_crosses_processes(cls: type[SekisoError]) -> None:
    error = example(cls)
    back = pickle.loads(pickle.dumps(error))
    assert type(back) is cls
    assert back.params == error.params
    assert str(back) == str(error)
    data = json.loads(json.dumps(error.to_dict()))
    assert data["code"] == cls.code
    assert data["family"] == cls.family.name.lower()
    assert data["retryable"] is cls.retryable
    assert data["params"] == error.params


def test_codes_are_unique_and_well_formed() -> None:
    codes = [cls.code for cls in CLASSES]
    assert len(codes) == len(set(codes))
    assert all(re.fullmatch(r"[a-z][a-z0-9-]*(\.[a-z][a-z0-9-]*)*", code) for code in codes)


def test_families_are_exit_statuses() -> None:
    values = [family.value for family in Family]
    assert len(values) == len(set(values))
    assert all(0 < value < 256 for value in values)
    assert all(isinstance(cls.family, Family) for cls in CLASSES)


def test_params_of_other_types_become_text() -> None:
    data = SekisoError(path=Path("/a"), size=3, ok=True, share=0.5, reason=None).to_dict()["params"]
    assert data == {"path": "/a", "size": 3, "ok": True, "share": 0.5, "reason": "None"}


def test_a_value_with_braces_is_left_alone() -> None:
    error = SekisoError(reason="{brief} {0} {")
    assert render_error(error, "en")[1] == "{brief} {0} {"
    assert render_error(error, "ja")[1] == "{brief} {0} {"


def test_a_missing_param_becomes_empty() -> None:
    assert fill("{a} and {b}.", {"b": 1}) == "and 1."


def test_empty_parts_are_left_out() -> None:
    assert "\n\n" not in str(SekisoError())
    assert gaps("{a} {b} {a}") == {"a", "b"}
