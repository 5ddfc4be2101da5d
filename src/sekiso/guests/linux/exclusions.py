"""What never becomes part of a Linux layer: volatile things, things that belong to one machine, caches."""

from __future__ import annotations

from sekiso.guests.exclusions import Exclusion

_VOLATILE = (
    ("/proc/**", "The kernel makes it while the machine runs.", "FHS 3.0, 6.1.5"),
    ("/sys/**", "The kernel makes it while the machine runs.", "FHS 3.0, 6.1.7"),
    ("/dev/**", "The kernel and udev make it while the machine runs.", "FHS 3.0, 3.6"),
    ("/run/**", "It describes the running machine and is empty after a start.", "FHS 3.0, 3.15"),
    ("/tmp/**", "Temporary files.", "FHS 3.0, 3.18"),  # noqa: S108 (a pattern, not a file)
    ("/var/tmp/**", "Temporary files.", "FHS 3.0, 5.15"),  # noqa: S108 (a pattern, not a file)
    ("/lost+found", "Belongs to the file system, not to the system on it.", "FHS 3.0, 3.1"),
    ("/*/lost+found", "Belongs to the file system, not to the system on it.", "FHS 3.0, 3.1"),
    # Folders that belong to packages stay, so that `dpkg --verify` finds them.
    ("/var/cache/apt/*.bin", "Index that APT makes again.", "apt-get(8), clean"),
    ("/var/cache/apt/archives/*.deb", "Downloaded package.", "apt-get(8), clean"),
    ("/var/cache/apt/archives/partial/*", "Half a downloaded package.", "apt-get(8), clean"),
    ("/var/lib/apt/lists/*_*", "Package list that APT downloads again.", "apt-get(8), update"),
    ("/var/lib/apt/lists/auxfiles/*", "Package list that APT downloads again.", "apt-get(8), update"),
    ("/var/lib/apt/lists/partial/*", "Half a package list.", "apt-get(8), update"),
    ("/var/cache/ldconfig/**", "ldconfig makes it again.", "ldconfig(8)"),
    ("/var/cache/man/**", "Index of manual pages, made again every day.", "mandb(8)"),
    ("/var/cache/debconf/*-old", "Backup of a file that is merged.", "debconf(7)"),
    ("/var/lib/dpkg/*-old", "Backup of a file that is merged.", "dpkg(1)"),
    ("/var/backups/**", "Backups of files that are merged.", "Debian Policy, cron"),
    ("/var/lib/systemd/random-seed", "A seed must never be shared.", "systemd-random-seed(8)"),
    ("/var/lib/systemd/credential.secret", "A key of one machine.", "systemd-creds(1)"),
    ("/var/lib/systemd/coredump/**", "Memory of crashed programs.", "systemd-coredump(8)"),
    ("/swapfile", "Swap space holds nothing to keep.", "swapon(8)"),
    ("/swap.img", "Swap space holds nothing to keep.", "swapon(8)"),
    ("/var/lib/sekiso/**", "The guest tools' notes about one machine.", "Sekiso guest tools"),
)

_MACHINE = (
    ("/etc/machine-id", "Identifies one machine; the OS layer decides about it.", "machine-id(5)"),
    ("/var/lib/dbus/machine-id", "Identifies one machine.", "dbus-uuidgen(1)"),
    ("/etc/ssh/ssh_host_*", "SSH host keys belong to one machine; made at its first start.", "sshd(8)"),
    ("/etc/udev/rules.d/70-persistent-net.rules", "Names the adapters of one machine.", "udev(7)"),
    ("/etc/resolv.conf", "Describes the network of the packaging machine.", "resolv.conf(5)"),
    ("/etc/.pwd.lock", "A lock file.", "lckpwdf(3)"),
    ("/etc/.updated", "Time stamp of one machine.", "systemd.unit(5), ConditionNeedsUpdate"),
    ("/var/.updated", "Time stamp of one machine.", "systemd.unit(5), ConditionNeedsUpdate"),
    *(
        (f"/etc/{name}-", "Backup of a file that is merged.", "shadow(5), FILES")
        for name in ("passwd", "group", "shadow", "gshadow", "subuid", "subgid")
    ),
    ("/boot/grub/grub.cfg", "Made for every image from the kernels in it.", "Sekiso boot plan"),
    ("/boot/grub/grubenv", "State of one machine's boot loader.", "grub-editenv(1)"),
    ("/boot/efi/**", "The EFI system partition is made for every image.", "Sekiso boot plan"),
    ("/var/lib/systemd/timers/**", "When timers last ran on one machine.", "systemd.timer(5)"),
    ("/var/lib/systemd/timesync/**", "Clock of one machine.", "systemd-timesyncd(8)"),
    ("/var/lib/systemd/rfkill/**", "State of one machine's radios.", "systemd-rfkill(8)"),
    ("/var/lib/systemd/backlight/**", "State of one machine's screen.", "systemd-backlight(8)"),
    ("/var/lib/dhcp/*.leases", "Network leases of the packaging machine.", "dhclient.leases(5)"),
    ("/var/lib/NetworkManager/*.lease", "Network leases of the packaging machine.", "NetworkManager(8)"),
    ("/var/lib/NetworkManager/secret_key", "A key of one machine.", "NetworkManager(8)"),
    ("/var/lib/cloud/instance", "First-start state of one machine.", "cloud-init"),
    ("/var/lib/cloud/instances/**", "First-start state of one machine.", "cloud-init"),
    ("/var/lib/logrotate/status", "When logs of one machine were rotated.", "logrotate(8)"),
    ("/var/lib/hyperv/**", "Values exchanged with one host.", "hv_kvp_daemon(8)"),
    ("/root/.bash_history", "What somebody typed.", "bash(1)"),
    ("/home/*/.bash_history", "What somebody typed.", "bash(1)"),
    ("/root/.lesshst", "What somebody searched for.", "less(1)"),
)

_LOGS = (
    *("/var/log/journal/**", "/var/log/apt/*", "/var/log/installer/**", "/var/log/unattended-upgrades/*"),
    *(
        f"/var/log/{name}"
        for name in (
            *("alternatives.log*", "auth.log*", "bootstrap.log", "btmp*", "cloud-init*", "daemon.log*"),
            *("debug*", "dmesg*", "dpkg.log*", "faillog", "fontconfig.log", "kern.log*", "lastlog"),
            *("messages*", "syslog*", "user.log*", "wtmp*", "ubuntu-advantage*"),
        )
    ),
)


def _exclusions(rows: tuple[tuple[str, str, str], ...]) -> tuple[Exclusion, ...]:
    return tuple(Exclusion(pattern, reason, source) for pattern, reason, source in rows)


#: Left out of an OS layer.
IMPORT_EXCLUSIONS = _exclusions(_VOLATILE)

#: Left out when a packaging disk is captured.
CAPTURE_EXCLUSIONS = (
    *IMPORT_EXCLUSIONS,
    *_exclusions(_MACHINE),
    *(Exclusion(p, "Log of the packaging machine.", "FHS 3.0, 5.10") for p in _LOGS),
)
