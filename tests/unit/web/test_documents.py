"""Documents of connector configurations: read strictly, applied all or none (CC-11)."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from sekiso.connectors.errors import DocumentError
from sekiso.model.library import Role
from sekiso.web.yaml_documents import MAX_BYTES, read_documents

from .world import ROOT, World, problem

BOMB = "a: &a [x]\n" + "\n".join(
    f"{k}: &{k} [*{p}, *{p}]" for p, k in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "documents"),
    [
        ("", []),
        ("---\n---\n", []),
        ("a: 1\n---\nb: [x, 1.5, true, null]\n", [{"a": 1}, {"b": ["x", 1.5, True, None]}]),
        ("- a: 1\n- b: 2\n", [{"a": 1}, {"b": 2}]),
        ('{"a": {"b": "層"}}', [{"a": {"b": "層"}}]),
        ("\ufeffa: 1", [{"a": 1}]),
        ("text", ["text"]),
    ],
)
def test_yaml(text: str, documents: list[Any]) -> None:
    assert read_documents(text.encode()) == documents


@pytest.mark.parametrize(
    ("text", "documents"),
    [("[]", []), ('[{"a": 1}]', [{"a": 1}]), ('{"a": "\\ud83d\\ude00"}', [{"a": "😀"}])],
)
def test_json(text: str, documents: list[Any]) -> None:
    assert read_documents(text.encode(), is_json=True) == documents


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: 1\na: 2\n", "stands there twice"),
        ("a: &x 1\nb: *x\n", "aliases are not read"),
        (BOMB, "aliases are not read"),
        ("[" * 100_000, "nested too deeply"),
        ("{a: " * 5000, "nested too deeply"),
        ("- " * 5000, "nested too deeply"),
        ("1: x", "a key is no text"),
        ("? [a]\n: x", "read"),
        ("a: 2024-01-01", "something else than text"),
        ("a: !!python/object/apply:os.system [id]", "could not determine a constructor"),
        ("a: !!binary aGk=", "something else than text"),
        ("a: .inf", "not finite"),
        (f"a: {'9' * 30}", "too large"),
        (f"a: {'9' * 10_000}", "read"),
        ('a: "\\0"', "not allowed"),
        ("a: [", "read"),
        ("\x01", "read"),
        ("x" * (MAX_BYTES + 1), "larger than 1 MiB"),
    ],
    ids=lambda v: str(v)[:20],
)
def test_refused_yaml(text: str, reason: str) -> None:
    with pytest.raises(DocumentError, match=reason):
        read_documents(text.encode())


@pytest.mark.parametrize(
    "text", ['{"a": 1, "a": 2}', '{"a": NaN}', '{"a": "\\ud800"}', "[" * 100_000, "a: 1", "", '{"a": 1e999}']
)
def test_refused_json(text: str) -> None:
    with pytest.raises(DocumentError):
        read_documents(text.encode(), is_json=True)


def test_no_text() -> None:
    with pytest.raises(DocumentError, match="UTF-8"):
        read_documents(b"\xff\xfe\x00")


@given(
    st.one_of(
        st.binary(max_size=200), st.text(max_size=200).map(lambda t: t.encode("utf-8", "surrogatepass"))
    )
)
def test_anything_is_read_or_refused(data: bytes) -> None:
    for is_json in (False, True):
        with contextlib.suppress(DocumentError):
            assert isinstance(read_documents(data, is_json=is_json), list)


@pytest.mark.parametrize("form", ["yaml", "json"])
def test_what_was_exported_can_be_applied(world: World, form: str) -> None:
    client = world.client(Role.ADMINISTRATOR)
    exported = client.get(f"{ROOT}/connector-configurations/export?format={form}&reference=prod")
    media_type = exported.headers["content-type"].partition(";")[0]
    assert media_type == f"application/{form}"
    assert b"hv01" in exported.content

    def apply(content: bytes, query: str = "") -> Any:
        url = f"{ROOT}/connector-configurations/apply{query}"
        return client.post(url, content=content, headers={"Content-Type": media_type}).json()

    assert apply(exported.content) == [{"name": "prod", "action": "unchanged"}]
    changed = exported.content.replace(b"prod", b"test")
    assert apply(changed, "?dry_run=true") == [{"name": "test", "action": "created"}]
    assert len(client.get(f"{ROOT}/connector-configurations").json()) == 1
    assert apply(changed) == [{"name": "test", "action": "created"}]
    assert len(client.get(f"{ROOT}/connector-configurations").json()) == 2


def test_all_documents_are_applied_or_none(world: World) -> None:
    client = world.client(Role.ADMINISTRATOR)
    url = f"{ROOT}/connector-configurations"
    document = next(iter(yaml.safe_load_all(client.get(f"{url}/export").content)))
    text = yaml.safe_dump(document)
    both = (
        text.replace("prod", "good") + "---\n" + text.replace("prod", "bad").replace("External", "None such")
    )
    answer = client.post(f"{url}/apply", content=both.encode())
    found = problem(answer, 422, "configuration.invalid-document")
    assert [e["field"] for e in found["errors"]] == ["[1].settings.network"]
    assert [c["name"] for c in client.get(url).json()] == ["prod"]


def test_the_place_of_a_mistake_is_named(world: World) -> None:
    client = world.client(Role.ADMINISTRATOR)
    answer = client.post(f"{ROOT}/connector-configurations/apply", content=b"a: 1\na: 2")
    found = problem(answer, 400, "connector.document")
    assert found["errors"][0]["field"] == "/"
    assert "twice" in found["errors"][0]["reason"]


@pytest.mark.parametrize("content", [b'{"\\ud800": 1, "\\ud800": 2}', b'"\\ud800": 1\n"\\ud800": 2'])
@pytest.mark.parametrize("media_type", ["application/json", "application/yaml"])
def test_no_text_is_quoted_as_it_is(world: World, content: bytes, media_type: str) -> None:
    client = world.client(Role.ADMINISTRATOR)
    url = f"{ROOT}/connector-configurations/apply"
    answer = client.post(url, content=content, headers={"Content-Type": media_type})
    problem(answer, 400, "connector.document")
