"""The applications of the demonstration: what is installed in the packaging machine, and what proves it."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_INSTALL = """\
#!/bin/sh
set -eux
cd "$SEKISO_RUN_DIR"
[ ! -d debs ] || dpkg --install debs/*.deb
"""


def hook(name: str, text: str) -> str:
    """Return shell text that installs a report hook of the guest tools."""
    return (
        f"mkdir -p /etc/sekiso/report.d\ncat > /etc/sekiso/report.d/{name} <<'HOOK'\n{text}HOOK\n"
        f"chmod 755 /etc/sekiso/report.d/{name}\n"
    )


@dataclass(frozen=True)
class App:
    """One application.

    Attributes:
        name: name of the layer.
        version: name of the version.
        packages: Debian packages, from the distribution.
        setup: shell text after the packages are installed.
        proofs: report hook → what it must say in the published image.
    """

    name: str
    version: str
    packages: Sequence[str]
    setup: str
    proofs: Mapping[str, str]

    def write(self, folder: Path, debs: Sequence[Path]) -> None:
        """Write the run-once folder: packages, `run.sh`, and the wish to finalize afterwards."""
        folder.mkdir(parents=True, exist_ok=True)
        if debs:
            (folder / "debs").mkdir()
        for number, deb in enumerate(debs):
            shutil.copyfile(deb, folder / "debs" / f"{number:03}.deb")
        (folder / "run.sh").write_text(_INSTALL + self.setup)
        (folder / "finalize").write_text("")


NGINX = App(
    name="nginx",
    version="1.22",
    packages=("nginx-light",),
    setup=hook(
        "10-nginx",
        """\
#!/bin/bash
exec 3<>/dev/tcp/127.0.0.1/80
printf 'GET / HTTP/1.0\\r\\nHost: localhost\\r\\n\\r\\n' >&3
timeout 20 cat <&3
""",
    )
    + """\
useradd --system --no-create-home webops
echo 'Welcome from the nginx layer' > /etc/motd
mkdir -p /opt/demo
echo 'removed by the site layer' > /opt/demo/obsolete.txt
printf 'AAAA' > /opt/demo/same-size-and-time
""",
    proofs={"10-nginx": "Layered by Sekiso"},
)

REDIS = App(
    name="redis",
    version="7.0",
    packages=("redis-server",),
    setup=hook(
        "20-redis",
        "#!/bin/sh\nredis-cli ping\nredis-cli get sekiso\nredis-cli info server | grep redis_version\n",
    )
    + """\
systemctl start redis-server
redis-cli set sekiso 'layers all the way down'
redis-cli save
systemctl stop redis-server
echo 'Welcome from the redis layer' > /etc/motd
""",
    proofs={"20-redis": "layers all the way down"},
)

SITE = App(
    name="site",
    version="1",
    packages=(),
    setup="""\
rm /opt/demo/obsolete.txt
rm /etc/nginx/sites-enabled/default
rm /var/www/html/index.nginx-debian.html
echo '<h1>Layered by Sekiso</h1>' > /var/www/html/index.html
cat > /etc/nginx/sites-available/site <<'CONF'
server { listen 80 default_server; root /var/www/html; }
CONF
ln -s ../sites-available/site /etc/nginx/sites-enabled/site
touch -r /opt/demo/same-size-and-time /tmp/reference
printf 'BBBB' > /opt/demo/same-size-and-time
touch -r /tmp/reference /opt/demo/same-size-and-time
"""
    + hook(
        "30-site",
        """\
#!/bin/sh
[ ! -e /opt/demo/obsolete.txt ] && [ ! -e /etc/nginx/sites-enabled/default ] && echo deletions-hold
cat /opt/demo/same-size-and-time; echo
cat /etc/motd
id webops && id redis
""",
    )
    + hook(
        "90-dpkg",
        """\
#!/bin/sh
dpkg-query -W -f '${Package} ${db:Status-Status}\\n' nginx-light redis-server
dpkg --audit
timeout 100 dpkg --verify && echo dpkg-verify-clean
""",
    ),
    proofs={"30-site": "deletions-hold", "90-dpkg": "dpkg-verify-clean"},
)

APPS = (NGINX, REDIS, SITE)
