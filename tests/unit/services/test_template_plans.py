"""Image templates before they are saved or published: parts, merge order (IM-1, LY-6)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from sekiso.errors import AlreadyExistsError, NotFoundError, RuleError
from sekiso.model.layer import LayerKind
from sekiso.model.library import VersionRecord, VersionState
from sekiso.services.template_rules import TemplatePart, TemplateWish

from ...support.library import Library, open_library

NOTHING = TemplateWish(name="", configuration="", os_version_id="")


@pytest.fixture
def library() -> Iterator[Library]:
    with open_library() as found:
        yield found


@pytest.fixture
def os(library: Library) -> VersionRecord:
    return library.layer("Debian", LayerKind.OS, version="12")


def test_parts_are_checked_without_those_after_them(library: Library, os: VersionRecord) -> None:
    templates = library.templates
    templates.check(replace(NOTHING, name="web"), TemplatePart.NAMING)
    templates.check(replace(NOTHING, os_version_id=os.id), TemplatePart.OS)
    templates.check(replace(NOTHING, os_version_id=os.id), TemplatePart.APPS)
    templates.check(replace(NOTHING, configuration="plain"), TemplatePart.CONFIGURATION)
    templates.check(replace(NOTHING, configuration="plain"), TemplatePart.DISK)


def test_what_is_wrong_with_a_part(library: Library, os: VersionRecord) -> None:
    own = library.template(os).template
    templates = library.templates
    with pytest.raises(AlreadyExistsError):
        templates.check(replace(NOTHING, name="WEB"), TemplatePart.NAMING)
    templates.check(replace(NOTHING, name="WEB"), TemplatePart.NAMING, own.id)
    with pytest.raises(RuleError):
        templates.check(replace(NOTHING, name="a/b"), TemplatePart.NAMING)
    with pytest.raises(NotFoundError):
        templates.check(NOTHING, TemplatePart.OS)
    with pytest.raises(RuleError):
        wish = replace(NOTHING, os_version_id=os.id, app_version_ids=(os.id,))
        templates.check(wish, TemplatePart.APPS)
    with pytest.raises(RuleError):
        wish = replace(NOTHING, configuration=own.configuration_id, size_bytes=1)
        templates.check(wish, TemplatePart.DISK)


def test_layers_come_in_merge_order_without_those_gone(library: Library, os: VersionRecord) -> None:
    app = library.layer("nginx", LayerKind.APP, on=os)
    found = library.templates.stack([app.id, "gone", os.id, app.id])
    assert [item.version_id for item in found] == [os.id, app.id]
    assert found[1].layer_name == "nginx" and found[1].kind is LayerKind.APP


def test_versions_that_nothing_is_published_with(library: Library, os: VersionRecord) -> None:
    app = library.layer("nginx", LayerKind.APP, on=os)
    with library.core.db.begin() as work:
        work.versions.replace(replace(app, state=VersionState.BROKEN))
    assert library.templates.unready([os.id, app.id, "gone"]) == {app.id, "gone"}
