"""Addresses of databases, and names and texts as they are stored."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekiso.model.names import comparable_name
from sekiso.store.database.columns import MAX_INTEGER, clamped, name_key, storable
from sekiso.store.database.database import Database, open_database, sqlite_url
from sekiso.store.database.engine import parsed_url, shown
from sekiso.store.database.errors import DatabaseUnavailableError, DatabaseUrlError


@pytest.mark.parametrize(
    "url",
    [
        "",
        "nonsense",
        "/var/lib/sekiso.db",
        "mysql://host/x",
        "oracle://host/x",
        "sqlite://",
        "sqlite:///:memory:",
        "sqlite:///file:x?mode=memory&uri=true",
        "http://example",
        "postgresql://host:port/x",
    ],
)
def test_addresses_of_no_use(url: str) -> None:
    with pytest.raises(DatabaseUrlError) as caught:
        Database(url)
    assert caught.value.params["reason"]
    assert caught.value.params["remedy"]


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://sekiso:secret@host/db",
        "postgres://sekiso:secret@host/db",
        "postgresql+psycopg://sekiso:secret@host/db",
    ],
)
def test_addresses_of_postgresql(url: str) -> None:
    parsed = parsed_url(url)
    assert parsed.drivername == "postgresql+psycopg"
    assert "secret" not in shown(parsed)
    assert "secret" in parsed.render_as_string(hide_password=False)


def test_a_server_that_does_not_answer_is_named_without_its_password(tmp_path: Path) -> None:
    with pytest.raises(DatabaseUnavailableError) as caught:
        open_database(f"postgresql://sekiso:secret@/db?host={tmp_path}")
    assert "secret" not in caught.value.render()
    assert "No such file" in str(caught.value.params["reason"])
    assert caught.value.retryable


@given(name=st.text("ab%?#:@ 層&=+", min_size=1))
def test_any_path_has_an_address(name: str) -> None:
    path = Path("/folder") / name
    assert parsed_url(sqlite_url(path)).database == str(path)


@pytest.mark.parametrize(
    ("one", "two"),
    [("Ａ", "a"), ("straße", "STRASSE"), ("a  b", "A\u3000B"), (" a ", "a"), ("ﾊﾟ", "パ"), ("e\u0301", "é")],
)
def test_names_that_count_as_the_same(one: str, two: str) -> None:
    assert comparable_name(one) == comparable_name(two)


@pytest.mark.parametrize(("one", "two"), [("a", "b"), ("ab", "a b"), ("e", "é"), ("は", "ば"), ("a", "")])
def test_names_that_do_not(one: str, two: str) -> None:
    assert comparable_name(one) != comparable_name(two)


@given(text=st.text())
def test_every_text_can_be_stored(text: str) -> None:
    stored = storable(text)
    stored.encode()
    assert "\0" not in stored
    assert len(stored) == len(text)
    assert storable(stored) == stored
    name_key(text).encode()


@given(number=st.integers())
def test_every_number_can_be_compared(number: int) -> None:
    assert 0 <= clamped(number) <= MAX_INTEGER
    assert clamped(number) == number or not 0 <= number <= MAX_INTEGER
