"""What an appliance clears away by itself, and what it leaves (OP-1, OP-4)."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from sekiso.model.layer import LayerKind
from sekiso.model.library import CredentialKind, CredentialRecord, Role, UserRecord
from sekiso.model.task import NewTask, TaskKind, TaskState
from sekiso.services.housekeeping import COMMAND_S, UPLOAD_S, Housekeeping
from sekiso.services.layer_tasks import CreateLayer
from sekiso.transfer.grants import Direction

from ...support.appliance import MANAGER
from ...support.library import Library, open_library


@pytest.fixture
def library() -> Iterator[Library]:
    with open_library() as found:
        yield found


@pytest.fixture
def housekeeping(library: Library) -> Housekeeping:
    return Housekeeping(library.core, library.appliance.grants, every_s=0.01)


def upload(library: Library, name: str, *, age_s: float) -> Path:
    folder = library.core.state / "uploads"
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}.tar"
    path.write_bytes(b"")
    then_s = library.appliance.clock() - age_s
    os.utime(path, (then_s, then_s))
    return path


def test_nothing_is_there(library: Library, housekeeping: Housekeeping) -> None:
    housekeeping.clear()
    assert not (library.core.state / "uploads").exists()


def test_sessions_and_commands(library: Library, housekeeping: Housekeeping) -> None:
    now_s = library.appliance.clock()
    with library.core.db.begin() as work:
        work.users.add(UserRecord("u", "maya", Role.READ_ONLY, "hash"))
        for name, expires_s in (("old", now_s - 1), ("new", now_s + 100), ("ever", None)):
            work.credentials.add(
                CredentialRecord(name, CredentialKind.SESSION, "u", "", name * 8, now_s, expires_s)
            )
        for name in ("done", "open"):
            work.commands.begin(name, library.agent_id, "os.import")
        work.commands.end("done", result={})
    housekeeping.clear()
    with library.core.db.read() as work:
        assert {c.id for c in work.credentials.all()} == {"new", "ever"}
        assert work.commands.find("done") is not None
    library.appliance.clock.now_s += COMMAND_S + 1
    housekeeping.clear()
    with library.core.db.read() as work:
        assert work.commands.find("done") is None
        assert work.commands.find("open") is not None


def test_grants(library: Library, housekeeping: Housekeeping, tmp_path: Path) -> None:
    grants = library.appliance.grants
    for valid_s in (-1.0, 3600.0):
        grants.issue(principal="a", direction=Direction.UPLOAD, path=tmp_path / "x", valid_s=valid_s)
    housekeeping.clear()
    assert len(library.appliance.grant_store.ids()) == 1


def test_uploads(library: Library, housekeeping: Housekeeping) -> None:
    system = library.layer("Debian", LayerKind.OS)
    library.engine.close()
    wanted = upload(library, "wanted", age_s=UPLOAD_S + 1)
    wish = CreateLayer(LayerKind.APP, "app", "1", "plain", system.id, run_once_upload_id="wanted")
    task = library.layers.create(MANAGER, wish)
    old, new = upload(library, "old", age_s=UPLOAD_S + 1), upload(library, "new", age_s=UPLOAD_S - 60)
    housekeeping.clear()
    assert (wanted.exists(), old.exists(), new.exists()) == (True, False, True)
    with library.core.db.begin() as work:
        work.tasks.move(task.id, TaskState.CANCELED)
    housekeeping.clear()
    assert (wanted.exists(), new.exists()) == (False, True)


def test_an_upload_that_goes_meanwhile(
    library: Library, housekeeping: Housekeeping, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A task has taken it between the look into the folder and the look at it."""
    gone, old = (upload(library, name, age_s=UPLOAD_S + 1) for name in ("gone", "old"))
    monkeypatch.setattr(Path, "iterdir", lambda _: iter((gone, old)))
    gone.unlink()
    housekeeping._clear_uploads(library.appliance.clock())  # pyright: ignore[reportPrivateUsage]
    assert not old.exists()


def test_scratch(library: Library, housekeeping: Housekeeping) -> None:
    library.engine.close()
    ids = ("queued", "running", "failed")
    for task_id in ids:
        library.engine.start(NewTask(task_id, TaskKind.BOOT_TEST, (), {}, "maya"))
    with library.core.db.begin() as work:
        work.tasks.move("running", TaskState.RUNNING)
        work.tasks.move("failed", TaskState.FAILED)
    folder = library.core.state / "scratch"
    for name in (*ids, "forgotten", "probes"):
        (folder / name).mkdir(parents=True)
        (folder / name / "file").write_bytes(b"x")
    housekeeping.clear()
    assert {path.name for path in folder.iterdir()} == {"queued", "running", "probes"}


def test_the_thread(
    library: Library, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    housekeeping = Housekeeping(library.core, library.appliance.grants, every_s=0.01)
    errors = iter((OSError("the disk is away"), ValueError("something else")))
    again = threading.Event()

    def clear() -> None:
        error = next(errors, None)
        if error is not None:
            raise error
        again.set()

    monkeypatch.setattr(housekeeping, "clear", clear)
    housekeeping.start()
    assert again.wait(10)
    housekeeping.stop()
    housekeeping.stop()
    assert caplog.text.count("not everything could be cleared away") == 2
    Housekeeping(library.core, library.appliance.grants).stop()
