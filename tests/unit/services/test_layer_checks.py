"""Parts of a layer that are checked before it is made, and nothing begins (LY-1, LY-2, LY-3)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sekiso.errors import AlreadyExistsError, NotFoundError, RuleError
from sekiso.model.layer import LayerKind
from sekiso.model.library import VersionRecord
from sekiso.services.layer_checks import LayerChecks
from sekiso.services.layer_tasks import AddVersion

from ...support.library import Library, open_library


@pytest.fixture
def library() -> Iterator[Library]:
    with open_library() as found:
        yield found


@pytest.fixture
def os(library: Library) -> VersionRecord:
    return library.layer("Debian", LayerKind.OS, version="12")


@pytest.fixture
def checks(library: Library) -> LayerChecks:
    return LayerChecks(library.core)


def test_an_imported_layer(checks: LayerChecks, os: VersionRecord) -> None:
    checks.imported("Debian", "13")
    checks.imported("Ubuntu", "12")
    with pytest.raises(AlreadyExistsError):
        checks.imported("Debian", "12")
    with pytest.raises(RuleError) as caught:
        checks.imported("a/b", "12")
    assert caught.value.params["field"] == "name"
    with pytest.raises(RuleError):
        checks.imported("Ubuntu", "12", icon="../x")


def test_a_created_layer(checks: LayerChecks, library: Library, os: VersionRecord) -> None:
    library.layer("nginx", on=os)
    checks.created(LayerKind.PLATFORM, "nginx", "1")
    with pytest.raises(AlreadyExistsError):
        checks.created(LayerKind.APP, "nginx", "2")
    with pytest.raises(RuleError) as caught:
        checks.created(LayerKind.PLATFORM, "drivers", "1", priority=3)
    assert caught.value.params["field"] == "priority"
    with pytest.raises(RuleError) as caught:
        checks.created(LayerKind.APP, "other", "1", notes="x" * 4001)
    assert caught.value.params["field"] == "notes"


def test_what_it_is_made_on(checks: LayerChecks, library: Library, os: VersionRecord) -> None:
    app = library.layer("nginx", on=os)
    checks.base(os.id, (app.id,))
    with pytest.raises(RuleError) as caught:
        checks.base(app.id, ())
    assert caught.value.params["field"] == "os_version_id"
    with pytest.raises(NotFoundError):
        checks.base("nothing", ())


def test_a_further_version(checks: LayerChecks, library: Library, os: VersionRecord) -> None:
    app = library.layer("nginx", on=os)
    checks.version_name(app.layer_id, "2")
    with pytest.raises(AlreadyExistsError):
        checks.version_name(app.layer_id, "1")
    checks.continued(app.layer_id, None)
    with pytest.raises(RuleError) as caught:
        checks.continued(app.layer_id, os.id)
    assert caught.value.params["field"] == "from_version_id"
    checks.version_base(app.layer_id, AddVersion("2", "", os_version_id=os.id))
    with pytest.raises(RuleError) as caught:
        checks.version_base(app.layer_id, AddVersion("2", "", from_version_id=os.id))
    assert caught.value.params["field"] == "from_version_id"
    with pytest.raises(RuleError):
        checks.version_base(os.layer_id, AddVersion("2", "", os_version_id=os.id))


def test_the_place(checks: LayerChecks, library: Library) -> None:
    with pytest.raises(NotFoundError):
        checks.place("nothing")


def test_nothing_begins(checks: LayerChecks, library: Library, os: VersionRecord) -> None:
    checks.imported("Ubuntu", "12")
    checks.created(LayerKind.APP, "nginx", "1")
    assert not library.tasks()
    assert [view.layer.name for view in library.layers.list()] == ["Debian"]
