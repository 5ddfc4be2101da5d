"""The whole appliance on PostgreSQL: a layer is imported and published, without a boot (OP-5)."""

from __future__ import annotations

from pathlib import Path

import pytest
from script.lib.estate import Estate

from ..integration.compositing.systems import fill_system, make_disk
from ..support.postgres import postgres_cluster

pytestmark = [pytest.mark.slow]


def test_an_appliance_on_postgresql_imports_and_publishes(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    fill_system(tree)
    disk = make_disk(tree, tmp_path / "source.raw", size_mib=160)
    with postgres_cluster() as cluster:
        url = cluster.url(cluster.new_database())
        estate = Estate(tmp_path / "estate", environment={"SEKISO_DATABASE_URL": url})
        try:
            estate.start()
            words = ("--agent", "host1", "--storage-path", estate.storage, "--network", "Isolated")
            estate.run("connector", "create", "c", *words, "--offload", "--memory-mb", 64, "--cpus", 1)
            estate.run("layer", "import-os", "Os", "--version", "1", "--connector", "c", "--disk", disk, "-q")
            # What was done is there after a restart of everything.
            estate.close()
            estate.start()
            estate.run("template", "create", "t", "--connector", "c", "--os", "Os")
            estate.run("image", "publish", "t", "--quiet")
            images = estate.json("image", "list")["images"]
            assert [i["image"]["state"] for i in images] == ["published"]
            assert estate.json("audit", "verify")["whole"]
            assert not (estate.appliance_state / "sekiso.db").exists()
        finally:
            estate.close()
