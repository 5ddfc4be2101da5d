"""Layers that an image can be planned from: a Debian that starts with UEFI, and apps that disagree."""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Mapping
from dataclasses import replace

from sekiso.model.layer import GuestFamily, LayerKind
from sekiso.model.library import LayerRecord, VersionRecord, VersionState
from sekiso.model.machine import Generation
from sekiso.services.core import APPLIANCE
from sekiso.store.layers import LayerStore
from sekiso.wim.merge import LayerTree
from sekiso.wim.tree import DIRECTORY, Node, UnixData, new_root

from ..compositing.edit_scripts import write_layer
from ..web.world import NOW_S, World, settings

_KERNEL = "6.1.0-9-amd64"
_DEBIAN = {
    f"/boot/vmlinuz-{_KERNEL}": b"k",
    f"/boot/initrd.img-{_KERNEL}": b"i",
    f"/lib/modules/{_KERNEL}/modules.dep": b"",
    "/usr/lib/systemd/systemd": b"",
    "/usr/lib/shim/shimx64.efi.signed": b"shim",
    "/usr/lib/shim/mmx64.efi.signed": b"mm",
    "/usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed": b"MZ....\x00/EFI/debian\x00....",
    "/etc/default/grub": b"GRUB_TIMEOUT=0\n",
    "/etc/initramfs-tools/initramfs.conf": b"MODULES=most\n",
    "/usr/lib/os-release": b'PRETTY_NAME="Debian"\n',
}


def make_plannable(world: World) -> None:
    """Give `v-os` and `v-os2` a system that starts, and add the app layers `editor` and `tools`.

    Both apps have `/etc/app.conf`. The connector configuration is `uefi`.
    """
    store = LayerStore(world.state / "layers")
    system = _adopt(world, store, "Debian", _DEBIAN, LayerKind.OS)
    world.services.configurations.create(
        APPLIANCE, "hyperv", settings(name="uefi", generation=2, offload=True, disk_format="vhdx")
    )
    with world.db.begin() as work:
        for version_id in ("v-os", "v-os2"):
            work.versions.replace(replace(work.versions.get(version_id), identity=system))
    for place, name in enumerate(("editor", "tools")):
        identity = _adopt(world, store, name, {"/etc/app.conf": name.encode()}, LayerKind.APP, system)
        add_app(world, name, identity, priority=20 - place)


def add_app(world: World, name: str, identity: str | None = None, *, priority: int = 10) -> None:
    """Add the app layer `l-<name>` with the version `v-<name>`, `2.0`."""
    with world.db.begin() as work:
        own = identity or work.versions.get("v-app").identity
        layer = LayerRecord(
            f"l-{name}", LayerKind.APP, name, "", "", priority, GuestFamily.LINUX, "l-os", NOW_S
        )
        work.layers.add(layer)
        ready, base = VersionState.DEPLOYABLE, ("v-os",)
        work.versions.add(
            VersionRecord(
                *(f"v-{name}", layer.id, "2.0", "", ready, Generation.ONE, own),
                base_version_ids=base,
                created_s=NOW_S + 9,
            )
        )


def _adopt(
    world: World, store: LayerStore, name: str, files: Mapping[str, bytes], kind: LayerKind, base: str = ""
) -> str:
    root, content = _tree(files)
    path = world.state / f"{name}.wim"
    return store.adopt(
        write_layer(path, LayerTree(name, root), content, kind=kind, base=(base,) if base else ())
    )


def _tree(files: Mapping[str, bytes]) -> tuple[Node, dict[bytes, bytes]]:
    root, content = new_root(), {bytes(20): b""}
    root.unix = _folder()
    for path, data in files.items():
        node = root
        *folders, name = path.strip("/").split("/")
        for part in folders:
            assert node.children is not None
            fresh = Node(part, attributes=DIRECTORY, children={}, unix=_folder())
            node = node.children.setdefault(part, fresh)
        assert node.children is not None
        digest = hashlib.sha1(data).digest() if data else bytes(20)
        content[digest] = data
        node.children[name] = Node(name, data=digest, unix=UnixData(0, 0, stat.S_IFREG | 0o644))
    return root, content


def _folder() -> UnixData:
    return UnixData(0, 0, stat.S_IFDIR | 0o755)
