"""What holds for every table of records."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sekiso.errors import AlreadyExistsError, InUseError, NotFoundError
from sekiso.model.library import LayerRecord
from sekiso.store.database.database import Database

from . import samples

NAMED = ["agents", "configurations", "templates", "images", "users"]


def test_every_attribute_comes_back(db: Database) -> None:
    with db.begin() as work:
        samples.fill(work)
    for table, record, changed in samples.STORED:
        with db.begin() as work:
            rows = getattr(work, table)
            assert rows.get(record.id) == rows.find(record.id) == record
            assert record in rows.all()
            rows.replace(changed)
        with db.read() as work:
            rows = getattr(work, table)
            assert rows.get(record.id) == changed
            assert changed in rows.all()


def test_an_identifier_is_taken_once(db: Database) -> None:
    with db.begin() as work:
        samples.fill(work)
        for table, record, _ in samples.STORED:
            named = {"name": "Something else"} if hasattr(record, "name") else {}
            secret = {"secret_sha256": "9" * 64} if hasattr(record, "secret_sha256") else {}
            with pytest.raises(AlreadyExistsError) as caught:
                getattr(work, table).add(replace(record, **named, **secret))
            assert caught.value.params["name"] == record.id
            assert str(caught.value.params["what"]).startswith("The ")
            assert caught.value.params["remedy"]
            # The transaction goes on.
            assert getattr(work, table).get(record.id) == record


def test_what_does_not_exist(db: Database) -> None:
    with db.begin() as work:
        for table, record, _ in samples.STORED:
            rows = getattr(work, table)
            assert rows.find("nothing") is None
            assert list(rows.all()) == []
            with pytest.raises(NotFoundError) as caught:
                rows.get("nothing")
            assert caught.value.params["name"] == "nothing"
            rows.remove("nothing")
            with pytest.raises(NotFoundError):
                rows.replace(record)


def test_removed_from_the_last_to_the_first(db: Database) -> None:
    with db.begin() as work:
        samples.fill(work)
    for table, record, _ in reversed(samples.STORED):
        with db.begin() as work:
            getattr(work, table).remove(record.id)
            assert getattr(work, table).find(record.id) is None


USED = [
    ("configurations", "conf-1", "Desktop, Editor 1.0, create-layer"),
    ("layers", "layer-os", "Debian 12, Editor"),
    ("layers", "layer-app", "Editor 1.0, Editor 0.9"),
    ("versions", "v-os", "Editor 0.9, Editor 1.0, Desktop, Desktop 2026-01-01 10:00:00"),
    ("versions", "v-done", "Desktop, Desktop 2026-01-01 10:00:00"),
]


def test_what_is_used_stays(db: Database) -> None:
    with db.begin() as work:
        samples.fill(work)
        for table, record_id, users in USED:
            with pytest.raises(InUseError) as caught:
                getattr(work, table).remove(record_id)
            assert caught.value.params["users"] == users
            assert getattr(work, table).find(record_id) is not None


REFERRING = [
    ("layers", samples.APP_LAYER, "The layer layer-os does not exist."),
    ("versions", samples.OS_VERSION, "The layer layer-os does not exist."),
    ("templates", samples.TEMPLATE, "The connector configuration conf-1 does not exist."),
    ("images", samples.IMAGE, "The task task-1 does not exist."),
    ("credentials", samples.CREDENTIAL, "The user user-1 does not exist."),
]


def test_what_is_referred_to_exists(db: Database) -> None:
    with db.begin() as work:
        for table, record, missing in REFERRING:
            with pytest.raises(NotFoundError) as caught:
                getattr(work, table).add(record)
            assert caught.value.render().startswith(missing)
            assert getattr(work, table).find(record.id) is None


def test_lists_of_versions_refer_to_versions(db: Database) -> None:
    with db.begin() as work:
        samples.fill(work)
        for table, record in (
            ("versions", replace(samples.APP_VERSION, base_version_ids=("v-os", "v-none"))),
            ("templates", replace(samples.TEMPLATE, app_version_ids=("v-none",))),
            ("images", replace(samples.IMAGE, version_ids=("v-none",))),
        ):
            with pytest.raises(NotFoundError, match="The layer version v-none"):
                getattr(work, table).replace(record)
            assert getattr(work, table).get(record.id).id == record.id
        assert work.templates.get("tpl-1") == samples.TEMPLATE


def test_names_are_unique_by_what_they_look_like(db: Database) -> None:
    with db.begin() as work:
        samples.fill(work)
        for table in NAMED:
            record = next(record for name, record, _ in samples.STORED if name == table)
            _unique(getattr(work, table), record)


def _unique(rows: Any, record: Any) -> None:
    rows.replace(replace(record, name="Größe  X"))
    for same in ("GRÖSSE x", "Ｇröße\u3000Ｘ", " größe x "):
        with pytest.raises(AlreadyExistsError) as caught:
            rows.add(replace(record, id="another", name=same))
        assert caught.value.params["name"] == same
        assert rows.by_reference(same).id == record.id
    rows.add(replace(record, id="another", name="GrößeX"))
    with pytest.raises(AlreadyExistsError):
        rows.replace(replace(record, id="another", name="GRÖSSE X"))
    assert rows.by_reference("another").name == "GrößeX"
    assert [r.name for r in rows.all()] == ["Größe  X", "GrößeX"]


def test_an_identifier_comes_before_a_name(db: Database) -> None:
    with db.begin() as work:
        samples.fill(work)
        for table in NAMED:
            record = next(record for name, record, _ in samples.STORED if name == table)
            _identifier_first(getattr(work, table), record)


def _identifier_first(rows: Any, record: Any) -> None:
    rows.add(replace(record, id="another", name=record.id))
    assert rows.by_reference(record.id).id == record.id
    for nothing in ("", "nothing", "a\0b", "\ud800", "'; --", "%"):
        with pytest.raises(NotFoundError):
            rows.by_reference(nothing)


def test_names_are_sorted_the_same_everywhere(db: Database) -> None:
    names = ["Zebra", "apple", "Äpfel", "層", "a b", "ab", "_x", "10", "9"]
    with db.begin() as work:
        for name in names:
            work.users.add(replace(samples.USER, id=name, name=name))
        assert [user.name for user in work.users.all()] == [
            "10",
            "9",
            "_x",
            "a b",
            "ab",
            "apple",
            "Zebra",
            "Äpfel",
            "層",
        ]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))


class RolledBackError(Exception):
    pass


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(params=st.dictionaries(st.text(), JSON, max_size=4), step=TEXT, number=st.integers(0, 2**63 - 1))
def test_any_plain_data_comes_back(db: Database, params: dict[str, Any], step: str, number: int) -> None:
    record = samples.task("t", params=params, result=params, step=step, done=number)
    with pytest.raises(RolledBackError), db.begin() as work:
        work.tasks.add(record)
        assert work.tasks.get("t") == record
        raise RolledBackError


def test_what_no_database_can_hold_is_replaced(db: Database) -> None:
    record: LayerRecord = replace(samples.OS_LAYER, name="a\0b\ud800", notes="\0")
    with db.begin() as work:
        work.layers.add(record)
        assert work.layers.get(record.id) == replace(record, name="a\ufffdb\ufffd", notes="\ufffd")
