"""What versions hold, in what they differ, what they disagree about; real layer files (LY-6, LY-7)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ..web.world import World
from .conftest import Browser, Make, text_of
from .layer_world import add_layers


@pytest.fixture
def world(world: World) -> World:
    add_layers(world)
    return world


def test_pages_come_at_once_and_ask_for_the_rest(console: Browser) -> None:
    page = console.get("/layers/versions/x-one-2/contents?path=/etc")
    assert (
        'hx-get="/layers/versions/x-one-2/files?path=%2Fetc"' in page.text
        and "Reading the layer" in page.text
    )
    page = console.get("/layers/versions/x-one-2/differences")
    assert 'hx-get="/layers/versions/x-one-2/diff?other=x-one-1"' in page.text
    page = console.get("/layers/versions/x-one-2/conflicts")
    assert 'value="x-other-1"' in page.text and "Merging" not in page.text.partition('id="clashes"')[2]


def test_a_folder(console: Browser) -> None:
    part = console.part("/layers/versions/x-os-1/files")
    said = text_of(part)
    assert "bin → usr/bin Link" in said and "etc Folder" in said
    assert 'hx-get="/layers/versions/x-os-1/files?path=%2Fusr&amp;moved=1"' in part.text
    said = text_of(console.part("/layers/versions/x-os-1/files?path=/usr/bin&moved=1"))
    assert "sh File 2 KB" in said and "0640 33:7" in said and "1 of 1 entries" in said


def test_what_a_layer_deletes_is_marked(console: Browser) -> None:
    part = console.part("/layers/versions/x-one-2/files?path=/etc")
    assert '<del translate="no">issue</del>' in part.text and "Deleted" in text_of(part)
    assert "(unchanged)" in text_of(console.part("/layers/versions/x-one-2/files"))


def test_names_of_files_are_only_text(console: Browser) -> None:
    part = console.part("/layers/versions/x-one-1/files?path=/etc")
    assert "&lt;b&gt;.conf" in part.text and "<b>.conf" not in part.text
    said = text_of(console.part("/layers/versions/x-one-1/files?path=/srv"))
    assert "日本.txt" in said


def test_only_some_of_many(console: Browser) -> None:
    part = console.part("/layers/versions/x-os-1/files?path=/etc&limit=1")
    assert "1 of 2 entries Show more" in text_of(part) and "limit=4" in part.text


@pytest.mark.parametrize(("language", "said"), [("en", "does not exist"), ("ja", "存在しません")])
def test_a_folder_that_is_not_there(browse: Make, language: str, said: str) -> None:
    part = browse(language=language).part("/layers/versions/x-os-1/files?path=/<no>")
    assert part.status_code == 422 and said in text_of(part) and "<no>" not in part.text


def test_versions_that_hold_nothing_yet(console: Browser, world: World) -> None:
    for tab in ("contents", "differences", "conflicts"):
        page = console.get(f"/layers/versions/v-edit/{tab}")
        assert "Not deployable yet" in text_of(page) and 'hx-trigger="load"' not in page.text
    part = console.part("/layers/versions/v-edit/files")
    assert part.status_code == 422 and "cannot be used" in text_of(part)


def test_differences(console: Browser) -> None:
    part = console.part("/layers/versions/x-one-2/diff", other="x-one-1")
    said = text_of(part)
    assert "Changed /etc/motd content" in said and "Added /srv/new" in said
    assert "Removed /etc/<b>.conf" in said and "Deletion added /etc/issue" in said
    only = text_of(console.part("/layers/versions/x-one-2/diff", other="x-one-1", what="added"))
    assert "/srv/new" in only and "/etc/motd" not in only
    same = text_of(console.part("/layers/versions/x-one-2/diff", other="x-one-2"))
    assert "hold the same" in same
    refused = console.part("/layers/versions/x-one-2/diff", other="gone")
    assert refused.status_code == 422 and "does not exist" in text_of(refused)


def test_nothing_to_compare_with(console: Browser) -> None:
    assert "Nothing to compare with" in text_of(console.get("/layers/versions/x-other-1/differences"))


def test_conflicts(console: Browser) -> None:
    query = {"os_version_id": "x-os-1", "with": ["x-other-1", "x-pf-1"]}
    page = console.get("/layers/versions/x-one-1/conflicts", **query)
    assert 'hx-get="/layers/versions/x-one-1/clashes?' in page.text and page.text.count(" checked") == 2
    said = text_of(console.part("/layers/versions/x-one-1/clashes", **query))
    assert "/etc/motd File" in said and "one 1 → other 1 → pf 1 pf 1 A platform layer goes on top" in said
    query["with"] = ["x-other-1"]
    said = text_of(console.part("/layers/versions/x-one-1/clashes", **query))
    assert "other 1 It has the highest priority (9)." in said
    said = text_of(console.part("/layers/versions/x-os-1/clashes", **{"with": ["x-one-1"]}))
    assert "do not disagree" in said


def test_equal_priorities_and_names_that_have_changed(console: Browser, world: World) -> None:
    query = {"os_version_id": "x-os-1", "with": ["x-other-1"]}
    with world.db.begin() as work:
        work.layers.replace(replace(work.layers.get("x-one"), priority=9))
    said = text_of(console.part("/layers/versions/x-one-1/clashes", **query))
    assert "It has the same priority (9) and was made later." in said
    with world.db.begin() as work:
        work.layers.replace(replace(work.layers.get("x-other"), name="renamed"))
    said = text_of(console.part("/layers/versions/x-one-1/clashes", **query))
    assert "It is merged after the others." in said


def test_layers_that_do_not_go_together(console: Browser) -> None:
    part = console.part("/layers/versions/x-one-1/clashes", **{"with": ["x-other-1"]})
    assert part.status_code == 422 and "exactly one OS layer" in text_of(part)
