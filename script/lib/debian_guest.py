"""Build a bootable Debian disk with mmdebstrap, sfdisk, mke2fs, mtools, grub-mkimage and qemu-img.

Nothing of Sekiso's own code is used, so that what comes out is a foreign disk. No loop device, no mount of
the disk, no guest code run outside mmdebstrap's own chroot. The package tree is the same for both
generations and is kept in the cache folder, as are the downloaded packages.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path

from lib.debian_boot import bios_boot_code, esp_files, grub_menu

RECIPE_VERSION = 2
SECTOR = 512
MIB = 1 << 20
FIRST_LBA = 2048
ESP_MIB = 64

# Makes a start under pure emulation about twice as fast.
FAST_OPTIONS = (
    "mitigations=off nokaslr nowatchdog cryptomgr.notests init_on_alloc=0 tsc=reliable no_timer_check"
)
BOOT_PACKAGES = (
    "linux-image-cloud-amd64",
    "initramfs-tools",
    "zstd",
    "kmod",
    "udev",
    "grub-pc-bin",
    "grub-efi-amd64-bin",
    "grub-efi-amd64-signed",
    "shim-signed",
)
SYSTEM_PACKAGES = ("systemd-sysv", "dbus", "iproute2")
TINY_PACKAGES = ("mount",)
IDLE_TIMERS = (
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "fstrim.timer",
    "e2scrub_reap.service",
)
TINY_MODULES = (
    "ata_piix",
    "sd_mod",
    "virtio_pci",
    "virtio_scsi",
    "virtio_blk",
    "hv_storvsc",
    "vmw_pvscsi",
    "ext4",
)

TINY_INIT = """\
#!/bin/sh
# The whole service manager of the tiny guest.
PATH=/usr/sbin:/usr/bin:/sbin:/bin
export PATH
mount -t proc -o nosuid,noexec,nodev proc /proc 2>/dev/null
mount -t sysfs -o nosuid,noexec,nodev sysfs /sys 2>/dev/null
[ -c /dev/null ] || mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/pts
mount -t devpts devpts /dev/pts 2>/dev/null
mountpoint -q /run || mount -t tmpfs -o mode=0755,nosuid,nodev tmpfs /run
mount -o remount,rw /
[ -r /etc/hostname ] && cat /etc/hostname > /proc/sys/kernel/hostname

power_off() {
    sync
    echo e > /proc/sysrq-trigger
    sleep 1
    mount -o remount,ro /
    sync
    echo o > /proc/sysrq-trigger
    sleep 60
}

# The power button: one event of the input device of that name.
wait_for_button() {
    modprobe -q button
    modprobe -q evdev
    for input in /sys/class/input/event*; do
        read -r name < "$input/device/name"
        [ "$name" = "Power Button" ] || continue
        node=/dev/input/${input##*/}
        [ -c "$node" ] || continue
        (dd if="$node" of=/dev/null bs=24 count=1 2> /dev/null && power_off) &
    done
}

for program in /usr/lib/sekiso/first-boot; do
    [ -x "$program" ] && "$program"
done
wait_for_button
[ -x /usr/lib/sekiso/report ] && /usr/lib/sekiso/report boot
while :; do
    setsid -c sh -c 'exec sh < /dev/ttyS0 > /dev/ttyS0 2>&1' 2>/dev/null
    sleep 5
done
"""


@dataclass(frozen=True)
class Recipe:
    """What is installed; its hash names the cached tree."""

    release: str
    mirror: str
    tiny: bool
    include: tuple[str, ...] = ()

    @property
    def packages(self) -> list[str]:
        own = TINY_PACKAGES if self.tiny else SYSTEM_PACKAGES
        return sorted({*BOOT_PACKAGES, *own, *self.include})

    @property
    def key(self) -> str:
        text = json.dumps(
            [RECIPE_VERSION, self.release, self.mirror, self.tiny, self.packages, TINY_INIT, TINY_MODULES]
        )
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass
class Steps:
    """Names and times of what was done, printed as it happens."""

    quiet: bool
    started: float = field(default_factory=time.monotonic)
    last: float = field(default_factory=time.monotonic)

    def done(self, text: str) -> None:
        now = time.monotonic()
        if not self.quiet:
            print(f"{now - self.started:7.1f} s  (+{now - self.last:.1f})  {text}", file=sys.stderr)
        self.last = now


def run(*argv: str | Path, stdin: str | None = None, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        [str(a) for a in argv],
        input=stdin,
        text=True,
        capture_output=True,
        check=False,
        env={**os.environ, "LC_ALL": "C", **(env or {})},
    )
    if done.returncode:
        tail = (done.stdout + done.stderr)[-3000:]
        raise SystemExit(f"{argv[0]} failed with status {done.returncode}:\n{tail}")
    return done.stdout


def as_owner() -> list[str]:
    """What to put before a command that has to see the tree's own owners when run without root."""
    return [] if os.geteuid() == 0 else ["fakeroot", "--"]


# --- the package tree ---


def hooks(recipe: Recipe, debs: Path | None) -> list[str]:
    """Commands of mmdebstrap that run around the installation; `$1` is the tree."""
    out: list[str] = []
    if debs is not None:
        archives = '"$1"/var/cache/apt/archives'
        out.append(f"--setup-hook=mkdir -p {archives}; cp -a {debs}/*.deb {archives}/ 2>/dev/null || true")
        out.append(f"--customize-hook=cp -a -u {archives}/*.deb {debs}/ 2>/dev/null || true")
        out.append("--skip=download/empty,essential/unlink,cleanup/apt/cache")
    if recipe.tiny:
        modules = "\\n".join(TINY_MODULES)
        out.append(
            '--extract-hook=mkdir -p "$1"/etc/initramfs-tools/conf.d; '
            'printf "MODULES=list\\nBUSYBOX=n\\n" > "$1"/etc/initramfs-tools/conf.d/tiny; '
            f'printf "{modules}\\n" >> "$1"/etc/initramfs-tools/modules'
        )
        out.append('--customize-hook=cp "$SEKISO_TINY_INIT" "$1"/usr/sbin/init; chmod 755 "$1"/usr/sbin/init')
    else:
        out.append('--customize-hook=chroot "$1" systemctl -q disable ' + " ".join(IDLE_TIMERS) + " || true")
        out.append('--customize-hook=chroot "$1" systemctl -q set-default multi-user.target')
        out.append(
            '--customize-hook=printf "%s\\n" "[Match]" "Name=e*" "[Link]" "RequiredForOnline=no"'
            ' "[Network]" "DHCP=yes" > "$1"/etc/systemd/network/80-dhcp.network'
        )
        out.append('--customize-hook=chroot "$1" systemctl -q enable systemd-networkd.service')
        out.append('--customize-hook=chroot "$1" systemctl -q disable systemd-networkd-wait-online.service')
    out.append('--customize-hook=chroot "$1" passwd -q -d root')
    out.append(
        '--customize-hook=cd "$1"/var/cache/apt && rm -f *.bin archives/*.deb; '
        'cd "$1"/var/lib/apt/lists && find . -type f -delete'
    )
    return out


def make_tree(recipe: Recipe, archive: Path, debs: Path | None, scratch: Path) -> None:
    """Install the packages and keep the tree as a tar file at `archive`."""
    part = archive.with_suffix(f".{os.getpid()}.part")
    init = scratch / "init"
    init.write_text(TINY_INIT)
    argv = [
        "mmdebstrap",
        "--mode=root" if os.geteuid() == 0 else "--mode=auto",
        f"--variant={'essential' if recipe.tiny else 'minbase'}",
        "--format=tar",
        f"--include={','.join(recipe.packages)}",
        '--aptopt=Acquire::Languages "none"',
        '--aptopt=APT::Install-Recommends "false"',
        "--dpkgopt=force-unsafe-io",
        *hooks(recipe, debs),
        recipe.release,
        str(part),
        recipe.mirror,
    ]
    run(*argv, env={"SEKISO_TINY_INIT": str(init)})
    part.rename(archive)


def cached_tree(recipe: Recipe, folder: Path, debs: Path | None, scratch: Path, steps: Steps) -> Path:
    """Return the tar file of the package tree, made if it is not there."""
    archive = folder / f"tree-{recipe.key}.tar"
    if archive.exists():
        steps.done(f"package tree from the cache ({archive.stat().st_size / 1e6:.0f} MB)")
        return archive
    if debs is not None:
        debs.mkdir(parents=True, exist_ok=True)
    make_tree(recipe, archive, debs, scratch)
    steps.done(f"package tree installed ({archive.stat().st_size / 1e6:.0f} MB)")
    return archive


# --- the disk ---


@dataclass(frozen=True)
class Layout:
    """Where things lie on the disk, and what they are called."""

    generation: int
    size_mib: int
    root_uuid: str
    esp_id: int

    @property
    def esp_first_lba(self) -> int:
        return FIRST_LBA

    @property
    def root_first_lba(self) -> int:
        return FIRST_LBA if self.generation == 1 else FIRST_LBA + ESP_MIB * MIB // SECTOR

    @property
    def root_bytes(self) -> int:
        # The last MiB is left to the backup partition table.
        return self.size_mib * MIB - self.root_first_lba * SECTOR - MIB


def partition(disk: Path, layout: Layout) -> None:
    with disk.open("wb") as stream:
        stream.truncate(layout.size_mib * MIB)
    size = layout.root_bytes // SECTOR
    if layout.generation == 1:
        table = f"label: dos\nstart={FIRST_LBA}, size={size}, type=83, bootable\n"
    else:
        table = (
            f"label: gpt\nstart={FIRST_LBA}, size={ESP_MIB * MIB // SECTOR}, type=U, name=ESP\n"
            f"start={layout.root_first_lba}, size={size}, type=L, name=root\n"
        )
    run("sfdisk", "-q", disk, stdin=table)


def settings(layout: Layout, kernels: list[str], *, tiny: bool) -> dict[str, str]:
    """Files of the tree that depend on the disk."""
    options = f"console=tty0 console=ttyS0 {FAST_OPTIONS}"
    fstab = f"UUID={layout.root_uuid} / ext4 errors=remount-ro 0 1\n"
    if layout.generation == 2:
        esp = f"{layout.esp_id >> 16:04X}-{layout.esp_id & 0xFFFF:04X}"
        fstab += f"UUID={esp} /boot/efi vfat umask=0077,nofail 0 1\n"
    return {
        "etc/hostname": "debian-tiny\n" if tiny else "debian\n",
        "etc/hosts": "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n",
        "etc/fstab": fstab,
        "etc/default/grub": "GRUB_DEFAULT=0\nGRUB_TIMEOUT=0\nGRUB_DISTRIBUTOR=Debian\n"
        f'GRUB_CMDLINE_LINUX_DEFAULT="quiet"\nGRUB_CMDLINE_LINUX="{options}"\n'
        'GRUB_TERMINAL="console serial"\nGRUB_SERIAL_COMMAND="serial --unit=0 --speed=115200"\n',
        "boot/grub/grub.cfg": grub_menu(layout.root_uuid, kernels, f"quiet {options}"),
        "etc/machine-id": "",
    }


FILL_ROOT = """
set -e
tree=$1; archive=$2; settings=$3; disk=$4; offset=$5; kib=$6; uuid=$7
tar -C "$tree" --xattrs --xattrs-include='*' --numeric-owner --exclude='./dev/*' -xf "$archive"
cp -R --no-preserve=ownership "$settings"/. "$tree"/
mkdir -p "$tree"/boot/efi
options=offset=$offset,lazy_itable_init=1,lazy_journal_init=1,root_owner=0:0
mke2fs -q -F -t ext4 -m 1 -L root -U "$uuid" -E "$options" -d "$tree" "$disk" "${kib}k"
"""


def fill_root(
    tree: Path, archive: Path, disk: Path, layout: Layout, *, tiny: bool, overlay: Path | None
) -> None:
    """Unpack the tree, add the settings, and make the root file system from it inside the disk."""
    names = run("tar", "-tf", archive, "--wildcards", "./boot/vmlinuz-*").split()
    kernels = [Path(n).name.removeprefix("vmlinuz-") for n in names]
    with tempfile.TemporaryDirectory(dir=tree.parent) as folder:
        for name, text in settings(layout, kernels, tiny=tiny).items():
            path = Path(folder) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        if overlay is not None:
            shutil.copytree(overlay, folder, symlinks=True, dirs_exist_ok=True)
        place = [str(layout.root_first_lba * SECTOR), str(layout.root_bytes // 1024)]
        argv = [tree, archive, folder, disk, *place, layout.root_uuid]
        run(*as_owner(), "sh", "-c", FILL_ROOT, "fill-root", *argv)


def fill_esp(disk: Path, layout: Layout, tree: Path, scratch: Path) -> None:
    where = f"{disk}@@{layout.esp_first_lba * SECTOR}"
    env = {"MTOOLS_SKIP_CHECK": "1"}
    blocks_kib = str(ESP_MIB * 1024)
    run(
        *(
            "mkfs.vfat",
            "-F",
            "32",
            "-s",
            "1",
            "-n",
            "ESP",
            "-i",
            f"{layout.esp_id:08x}",
            "-h",
            str(FIRST_LBA),
        ),
        *("--offset", str(layout.esp_first_lba), str(disk), blocks_kib),
    )
    made: set[str] = set()
    for name, content in esp_files(tree, layout.root_uuid).items():
        parts = name.split("/")[:-1]
        for depth in range(1, len(parts) + 1):
            folder = "/".join(parts[:depth])
            if folder not in made:
                run("mmd", "-i", where, f"::/{folder}", env=env)
                made.add(folder)
        (scratch / "esp-file").write_bytes(content)
        run("mcopy", "-o", "-i", where, scratch / "esp-file", f"::/{name}", env=env)


def write_boot_code(disk: Path, layout: Layout, tree: Path, scratch: Path) -> None:
    boot, core = bios_boot_code(tree / "usr/lib/grub/i386-pc", layout.root_uuid, scratch)
    if len(core) > (FIRST_LBA - 1) * SECTOR:
        raise SystemExit("GRUB does not fit in front of the first partition")
    with disk.open("r+b") as stream:
        stream.write(boot[:440])
        stream.seek(SECTOR)
        stream.write(core)


def convert(raw: Path, out: Path) -> None:
    options = {
        ".vhdx": ["-O", "vhdx", "-o", "subformat=dynamic,block_size=1M"],
        ".vhd": ["-O", "vpc", "-o", "subformat=dynamic,force_size=on"],
        ".qcow2": ["-O", "qcow2"],
        ".raw": ["-O", "raw"],
        ".img": ["-O", "raw"],
    }
    part = out.with_name(out.name + ".part")
    run("qemu-img", "convert", "-f", "raw", *options[out.suffix.lower()], raw, part)
    part.rename(out)


def build(
    recipe: Recipe,
    out: Path,
    *,
    generation: int,
    size_mib: int,
    cache: Path | None,
    overlay: Path | None,
    steps: Steps,
) -> None:
    """Make the disk `out` from the recipe."""
    with tempfile.TemporaryDirectory(prefix="make-debian-guest-", dir=out.parent) as folder:
        scratch = Path(folder)
        if os.geteuid() != 0:
            scratch.chmod(0o755)
        archive = cached_tree(recipe, cache or scratch, cache / "debs" if cache else None, scratch, steps)
        layout = Layout(generation, size_mib, str(uuid.uuid4()), int.from_bytes(os.urandom(4), "big"))
        tree, disk = scratch / "tree", scratch / "disk.raw"
        tree.mkdir()
        partition(disk, layout)
        fill_root(tree, archive, disk, layout, tiny=recipe.tiny, overlay=overlay)
        steps.done("root file system")
        if generation == 1:
            write_boot_code(disk, layout, tree, scratch)
        else:
            fill_esp(disk, layout, tree, scratch)
        run("chmod", "-R", "u+rwX", tree)
        shutil.rmtree(tree)
        steps.done("partitions and boot files")
        convert(disk, out)
        steps.done(f"{out.name}: {out.stat().st_size / 1e6:.0f} MB")


def parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="make-debian-guest",
        description="Build a bootable Debian disk from Debian packages, with none of Sekiso's own disk code.",
        epilog="Root has no password in these guests: they are for demonstrations and tests.",
    )
    parser.add_argument("--generation", type=int, choices=(1, 2), help="1 = BIOS and MBR, 2 = UEFI and GPT")
    parser.add_argument("--out", type=Path, help="disk to make: .vhdx .vhd .qcow2 .raw .img")
    parser.add_argument("--tree-only", action="store_true", help="only fill the cache; prints the tar file")
    parser.add_argument("--release", default="bookworm")
    parser.add_argument("--mirror", default="http://deb.debian.org/debian")
    parser.add_argument("--cache", type=Path, help="folder that keeps packages and the package tree")
    parser.add_argument("--refresh", action="store_true", help="install again although a tree is cached")
    parser.add_argument("--tiny", action="store_true", help="essential packages and an init of its own")
    parser.add_argument("--include", default="", help="more packages, separated by commas")
    parser.add_argument(
        "--overlay", type=Path, help="folder whose content is copied over the tree, owned by root"
    )
    parser.add_argument("--size", type=int, help="size of the disk in MiB (default 2048, tiny 1024)")
    parser.add_argument("--quiet", action="store_true")
    return parser.parse_args(argv)


def main(argv: list[str]) -> int:
    args = parse(argv)
    if args.tree_only:
        if args.cache is None:
            raise SystemExit("--tree-only needs --cache")
    elif args.out is None or args.out.suffix.lower() not in (".vhdx", ".vhd", ".qcow2", ".raw", ".img"):
        raise SystemExit("--out must end in .vhdx, .vhd, .qcow2, .raw or .img")
    elif args.generation is None:
        raise SystemExit("--generation 1 or --generation 2 must be given")
    missing = [
        t
        for t in (
            *as_owner()[:1],
            "mmdebstrap",
            "sfdisk",
            "mke2fs",
            "mkfs.vfat",
            "mcopy",
            "grub-mkimage",
            "qemu-img",
        )
        if shutil.which(t, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin") is None
    ]
    if missing:
        raise SystemExit(
            f"missing: {', '.join(missing)}. Install these packages: "
            "mmdebstrap fdisk e2fsprogs dosfstools mtools grub-common qemu-utils"
        )
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    include = tuple(p for p in args.include.split(",") if p)
    recipe = Recipe(args.release, args.mirror, args.tiny, include)
    cache = args.cache.resolve() if args.cache else None
    if cache is not None:
        cache.mkdir(parents=True, exist_ok=True)
        if args.refresh:
            (cache / f"tree-{recipe.key}.tar").unlink(missing_ok=True)
    size_mib = args.size or (1024 if args.tiny else 2048)
    steps = Steps(quiet=args.quiet)
    if args.tree_only:
        with tempfile.TemporaryDirectory(prefix="make-debian-guest-") as folder:
            print(cached_tree(recipe, cache, cache / "debs", Path(folder), steps))
        return 0
    build(
        recipe,
        args.out.resolve(),
        generation=args.generation,
        size_mib=size_mib,
        cache=cache,
        overlay=args.overlay,
        steps=steps,
    )
    return 0
