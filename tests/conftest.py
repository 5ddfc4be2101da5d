"""What holds for every test: one language, reproducible examples, no test left out for want of a tool."""

from __future__ import annotations

import os
import re
from collections.abc import Generator
from pathlib import Path
from typing import cast

import pytest
from hypothesis import HealthCheck, settings

REPOSITORY = Path(__file__).parents[1]
SHARED = REPOSITORY.parent / "shared"

# A time limit for each example says more about the load of the machine than about the code.
settings.register_profile("dev", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile(
    "ci", deadline=None, derandomize=True, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("ci" if os.environ.get("CI") else "dev")

# Under SEKISO_CI a test may be left out for these reasons only. A missing program is never one of them:
# script/lib/setup.sh has to install it.
_EXCUSED = re.compile(r"shared data|another platform", re.IGNORECASE)


def skip_is_excused(reason: str) -> bool:
    """Whether a test may be skipped for this reason where nothing may be missing."""
    return bool(_EXCUSED.search(reason))


def pytest_configure(config: pytest.Config) -> None:
    # Tests compare English texts; those of other languages ask for theirs by name.
    for name in ("SEKISO_LANG", "LC_ALL", "LC_MESSAGES", "LANGUAGE"):
        os.environ.pop(name, None)
    os.environ["LANG"] = "C.UTF-8"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if os.geteuid() == 0:
        return
    needs_root = [item for item in items if item.get_closest_marker("root")]
    if needs_root:
        items[:] = [item for item in items if item not in needs_root]
        config.hook.pytest_deselected(items=needs_root)
        config.stash[_LEFT_OUT] = len(needs_root)


_LEFT_OUT = pytest.StashKey[int]()


def pytest_report_collectionfinish(config: pytest.Config) -> list[str]:
    count = config.stash.get(_LEFT_OUT, 0)
    return [f"not root: {count} tests marked 'root' are left out"] if count else []


def _refuse_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    if not os.environ.get("SEKISO_CI") or not report.skipped or hasattr(report, "wasxfail"):
        return
    where = report.longrepr
    reason = str(cast("tuple[str, int, str]", where)[2] if isinstance(where, tuple) else where)
    if not skip_is_excused(reason):
        report.outcome = "failed"
        report.longrepr = f"{reason}\nNothing may be missing here: a test that cannot run has failed."


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    _refuse_skip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    _refuse_skip(report)
    return report


@pytest.fixture
def shared_data() -> Path:
    """Folder of samples beside the repository, which is not part of it."""
    if not SHARED.is_dir():
        pytest.skip("the folder with the shared data is not beside the repository")
    return SHARED / "data"


@pytest.fixture(scope="session")
def guest_cache() -> Path:
    """The folder that keeps the Debian trees of the test guests between runs."""
    place = Path(os.environ.get("SEKISO_CACHE", Path.home() / ".cache" / "sekiso")) / "guests"
    place.mkdir(parents=True, exist_ok=True)
    return place
