"""The one door to external programs, with the smallest programs there are."""

from __future__ import annotations

import logging
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sekiso.errors import CanceledError, ToolFailedError, ToolMissingError, ToolTimeoutError
from sekiso.model.progress import SilentProgress, check_canceled
from sekiso.process import PACKAGES, command_line, kill, run, spawn

PYTHON = Path(sys.executable)


class Canceled(SilentProgress):
    """Work whose user has canceled it."""

    def canceled(self) -> bool:
        return True


class Broken(SilentProgress):
    """A progress whose other side went away."""

    def canceled(self) -> bool:
        raise ConnectionError


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_output_and_status() -> None:
    done = run(["sh", "-c", "echo out; echo err >&2; exit 3"], ok_statuses=(0, 3))
    assert (done.stdout, done.stderr, done.status) == (b"out\n", b"err\n", 3)
    assert done.text == "out\n"


def test_arguments_never_meet_a_shell() -> None:
    nasty = ["a b", "$(touch x)", "`id`", ";", "*", "'", '"', "-n", "積層", ""]
    done = run([PYTHON, "-c", "import sys; print(sys.argv[1:])", *nasty])
    assert done.text.strip() == repr(nasty)
    assert shlex.split(command_line(nasty)) == nasty


def test_reads_its_input_whole() -> None:
    data = os.urandom(1 << 20)
    assert run(["cat"], stdin=data).stdout == data


def test_slow_reader_gets_all_its_input() -> None:
    data = b"x" * 300_000
    script = "import sys, time; time.sleep(0.7); sys.stdout.write(str(len(sys.stdin.read())))"
    assert run([PYTHON, "-c", script], stdin=data, timeout_s=20).text == "300000"


def test_has_no_input_unless_given() -> None:
    assert run(["cat"]).stdout == b""


def test_environment_is_english_and_extended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "ja_JP.UTF-8")
    out = run(["env"], env={"SEKISO_X": "1"}).text.splitlines()
    assert {"LC_ALL=C", "SEKISO_X=1"} <= set(out)
    assert any(line.startswith("PATH=") for line in out)


def test_working_directory(tmp_path: Path) -> None:
    assert run(["pwd"], cwd=tmp_path).text.strip() == str(tmp_path.resolve())
    with pytest.raises(FileNotFoundError):
        run(["pwd"], cwd=tmp_path / "absent")


def test_failure_carries_the_tail_of_its_errors() -> None:
    with pytest.raises(ToolFailedError) as caught:
        run(["sh", "-c", "echo first >&2; seq 2000 >&2; echo the last word >&2; exit 4"])
    params = caught.value.params
    assert params["status"] == 4
    assert params["tool"] == "sh"
    reason = str(params["reason"])
    assert reason.endswith("the last word")
    assert "first" not in reason
    assert len(reason) <= 2000


def test_failure_without_errors_shows_its_output() -> None:
    with pytest.raises(ToolFailedError) as caught:
        run(["sh", "-c", "printf 'no such \\377 thing'; exit 1"])
    assert caught.value.params["reason"] == "no such \ufffd thing"


def test_killed_by_a_signal_is_a_failure() -> None:
    with pytest.raises(ToolFailedError) as caught:
        run(["sh", "-c", "kill -9 $$"])
    assert caught.value.params["status"] == -signal.SIGKILL


@pytest.mark.parametrize(("tool", "package"), [("mke2fs-not-here", "mke2fs-not-here")])
def test_missing_tool(tool: str, package: str) -> None:
    with pytest.raises(ToolMissingError) as caught:
        run([tool])
    assert caught.value.params == {"tool": tool, "package": package}


def test_missing_tool_names_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    for tool, package in PACKAGES.items():
        with pytest.raises(ToolMissingError) as caught:
            run([tool])
        assert caught.value.params["package"] == package


def test_timeout_ends_the_program() -> None:
    began = time.monotonic()
    with pytest.raises(ToolTimeoutError) as caught:
        run(["sleep", "60"], timeout_s=0.2)
    assert time.monotonic() - began < 10
    assert caught.value.params["timeout_s"] == 0.2
    assert caught.value.retryable
    assert caught.value.params["command"] == "sleep 60"


def test_cancel_ends_the_program(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    with pytest.raises(CanceledError):
        run(["sh", "-c", f"echo $$ > {pid_file}; exec sleep 60"], progress=Canceled())
    assert not alive(int(pid_file.read_text()))


def test_program_ends_when_the_progress_fails(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    with pytest.raises(ConnectionError):
        run(["sh", "-c", f"echo $$ > {pid_file}; exec sleep 60"], progress=Broken())
    assert not alive(int(pid_file.read_text()))


def test_kill_ends_what_does_not_listen() -> None:
    proc = spawn(["sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.05; done"])
    assert proc.stdout is not None
    assert proc.stdout.readline() == b"ready\n"
    kill(proc, grace_s=0.1)
    assert proc.returncode == -signal.SIGKILL
    assert proc.stdout.closed
    kill(proc)  # once more is harmless


def test_detached_program_has_its_own_session() -> None:
    proc = spawn(["sleep", "60"], detached=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        assert os.getsid(proc.pid) == proc.pid
    finally:
        kill(proc)


def test_file_descriptors_are_inherited_by_request_only(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text("content")
    fd = os.open(path, os.O_RDONLY)
    os.set_inheritable(fd, True)
    try:
        with pytest.raises(ToolFailedError):
            run(["sh", "-c", f"cat /dev/fd/{fd}"])
        proc = spawn(["sh", "-c", f"cat /dev/fd/{fd}"], pass_fds=[fd])
        assert proc.communicate()[0] == b"content"
    finally:
        os.close(fd)


def test_command_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, logger="sekiso.process"):
        run(["echo", "a b"])
    assert "run: echo 'a b'" in caplog.text


def test_check_canceled() -> None:
    check_canceled(SilentProgress())
    with pytest.raises(CanceledError):
        check_canceled(Canceled())
