"""A private PostgreSQL cluster for tests: a temporary folder, a Unix socket, no network, nothing durable."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import psycopg
from sqlalchemy import URL

_SUPERUSER = "sekiso"
_START_LIMIT_S = 30.0


class PostgresCluster:
    """A running cluster."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._numbers = count(1)

    def url(self, database: str) -> str:
        """URL of one of its databases."""
        url = URL.create(
            "postgresql", username=_SUPERUSER, database=database, query={"host": str(self._folder)}
        )
        return url.render_as_string()

    def new_database(self) -> str:
        """Make an empty database; return its name."""
        name = f"test{next(self._numbers)}"
        with self._connect("postgres") as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE template0".encode())
        return name

    def wait(self) -> None:
        """Wait until it answers."""
        end = time.monotonic() + _START_LIMIT_S
        while True:
            try:
                self._connect("postgres").close()
            except psycopg.OperationalError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.05)
            else:
                return

    def _connect(self, database: str) -> psycopg.Connection:
        return psycopg.connect(
            host=str(self._folder), user=_SUPERUSER, dbname=database, autocommit=True, connect_timeout=5
        )


@contextmanager
def postgres_cluster() -> Iterator[PostgresCluster]:
    """Make and start a cluster; stop and remove it at the end. As root it runs as the user `postgres`."""
    folder = Path(tempfile.mkdtemp(prefix="sekiso-pg-"))
    try:
        if os.geteuid() == 0:
            user = pwd.getpwnam("postgres")
            os.chown(folder, user.pw_uid, user.pw_gid)
        with _server(folder) as cluster:
            yield cluster
    finally:
        shutil.rmtree(folder)


@contextmanager
def _server(folder: Path) -> Iterator[PostgresCluster]:
    programs = _programs()
    data = folder / "data"
    options = ["--username", _SUPERUSER, "--auth", "trust", "--encoding", "UTF8", "--locale", "C.UTF-8"]
    made = subprocess.run(
        [*_unprivileged(), programs / "initdb", "--no-sync", *options, data],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        cwd="/",
        check=False,
    )
    assert made.returncode == 0, made.stderr
    settings = {
        "listen_addresses": "",
        "unix_socket_directories": str(folder),
        "fsync": "off",
        "full_page_writes": "off",
        "shared_buffers": "32MB",
        "deadlock_timeout": "100ms",
    }
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [
                *_unprivileged("--pdeathsig", "INT"),
                programs / "postgres",
                "-D",
                data,
                *(f"--{name}={value}" for name, value in settings.items()),
            ],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd="/",
        )
    try:
        cluster = PostgresCluster(folder)
        cluster.wait()
        yield cluster
    finally:
        process.send_signal(2)  # fast shutdown
        process.wait(timeout=_START_LIMIT_S)


def _programs() -> Path:
    """Folder of the newest installed version's programs; Debian keeps them out of PATH."""
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda p: int(p.parts[-3]))
    assert versions, "PostgreSQL is not installed (Debian package postgresql)"
    return versions[-1].parent


def _unprivileged(*options: str) -> list[str]:
    as_user = ["--reuid", "postgres", "--regid", "postgres", "--init-groups"] if os.geteuid() == 0 else []
    return ["setpriv", *as_user, *options, "--"] if as_user or options else []
