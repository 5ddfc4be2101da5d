"""What a guest says of itself over the serial port: lines of JSON, read tolerantly.

Each report is one line `SEKISO {…}` with an `event`. Anything else on the port is ignored: firmware and boot
loader output, cut-off lines, bytes that are not text. What a guest says is a claim, never an instruction:
values of the wrong type are dropped, texts are shortened.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

PREFIX = b"SEKISO "
MAX_LINE_BYTES = 128 << 10
MAX_TEXT_CHARS = 16 << 10
MAX_ITEMS = 1000
MAX_NUMBER = 1 << 53


@dataclass(frozen=True, slots=True)
class GateReason:
    """One thing that is unfinished in a guest.

    Attributes:
        code: stable name (`package-half-configured`, `reboot-required`, …).
        detail: what exactly: the package, the file, the process.
    """

    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class GateResult:
    """Result of the integrity gate: whether anything is unfinished, and what."""

    ok: bool
    reasons: tuple[GateReason, ...] = ()


@dataclass(frozen=True, slots=True)
class HookResult:
    """What one program of `/etc/sekiso/report.d` said."""

    name: str
    status: int
    output: str


@dataclass(frozen=True, slots=True)
class RunOnceResult:
    """What one run-once script did.

    Attributes:
        name: `disk run.sh`, or its name in `/etc/sekiso/run-once.d`.
        status: exit status; None while it runs.
        output: end of what it printed.
        duration_s: how long it ran; None where unknown.
    """

    name: str
    status: int | None = None
    output: str = ""
    duration_s: float | None = None


@dataclass(frozen=True, slots=True)
class FinalizeResult:
    """Result of finalization in the guest.

    Attributes:
        ok: whether it was done.
        forced: whether it went on although the integrity gate found something.
        freed_kib: room freed.
    """

    ok: bool
    forced: bool = False
    freed_kib: int = 0


@dataclass(frozen=True, slots=True)
class GuestReport:
    """All that a guest said since it started; what it has not said yet is None or empty.

    Attributes:
        boot_id: random identifier of this start.
        os_name: `Debian GNU/Linux 12 (bookworm)`.
        kernel: kernel release.
        host: host name.
        firmware: `bios` or `uefi`.
        secure_boot: whether Secure Boot is enforced; None = the guest cannot tell.
        lockdown: kernel lockdown mode (`none`, `integrity`, `confidentiality`).
        boot_uptime_s: seconds after the kernel's start when the guest first reported.
        package_count: number of installed packages.
        packages_sha256: SHA-256 of the output of `dpkg-query -W`.
        services_state: what `systemctl is-system-running` says; `none` without systemd.
        failed_services: names of failed units.
        gate: result of the integrity gate (the latest).
        hooks: results of the report hooks, in order.
        run_once: results of run-once scripts, in order.
        finalize: result of finalization.
        ready: whether the first sequence of reports is complete.
        powering_off: whether the guest said that it switches off.
    """

    boot_id: str = ""
    os_name: str = ""
    kernel: str = ""
    host: str = ""
    firmware: str = ""
    secure_boot: bool | None = None
    lockdown: str = ""
    boot_uptime_s: float | None = None
    package_count: int | None = None
    packages_sha256: str = ""
    services_state: str = ""
    failed_services: tuple[str, ...] = ()
    gate: GateResult | None = None
    hooks: tuple[HookResult, ...] = ()
    run_once: tuple[RunOnceResult, ...] = ()
    finalize: FinalizeResult | None = None
    ready: bool = False
    powering_off: bool = False

    @property
    def booted(self) -> bool:
        """Whether the guest reported its start."""
        return bool(self.boot_id)


class ReportReader:
    """Takes the bytes of the serial port as they come and keeps the report up to date.

    A new start (another `boot_id`) begins a new report; the earlier ones are in `earlier`.
    """

    def __init__(self) -> None:
        self.report = GuestReport()
        self.earlier: tuple[GuestReport, ...] = ()
        self._rest = b""

    def feed(self, data: bytes) -> tuple[Mapping[str, Any], ...]:
        """Take more bytes.

        Returns:
            The events that became complete with them, as the guest sent them, oldest first.
        """
        *lines, rest = (self._rest + data).split(b"\n")
        # A line beyond the limit is none of ours; its end is dropped as it comes.
        self._rest = rest if len(rest) <= MAX_LINE_BYTES else rest[-len(PREFIX) :]
        events = [event for event in map(parse_line, lines) if event is not None]
        for event in events:
            self._take(event)
        return tuple(events)

    def _take(self, event: Mapping[str, Any]) -> None:
        if event["event"] == "boot" and self.report.booted and event.get("boot_id") != self.report.boot_id:
            self.earlier = (*self.earlier, self.report)[-MAX_ITEMS:]
            self.report = GuestReport()
        self.report = applied(self.report, event)


def parse_report(data: bytes) -> GuestReport:
    """Return the report of the last start in everything that came over the serial port."""
    reader = ReportReader()
    reader.feed(data + b"\n")
    return reader.report


def parse_line(line: bytes) -> dict[str, Any] | None:
    """Return the event that one line of the port holds, or None if it holds none."""
    start = line.rfind(PREFIX + b"{")
    if start < 0 or len(line) > MAX_LINE_BYTES:
        return None
    text = line[start + len(PREFIX) :].decode("utf-8", "replace").rstrip("\r\x00 ")
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict):
        return None
    event = cast(dict[str, Any], value)
    return event if isinstance(event.get("event"), str) else None


def applied(report: GuestReport, event: Mapping[str, Any]) -> GuestReport:
    """Return the report with one more event taken in; an event of an unknown kind changes nothing."""
    match event.get("event"):
        case "boot":
            return _with_boot(report, event)
        case "packages":
            return replace(
                report, package_count=_int(event, "count"), packages_sha256=_text(event, "sha256")[:64]
            )
        case "services":
            return replace(
                report, services_state=_text(event, "state"), failed_services=_texts(event, "failed")
            )
        case "gate":
            return replace(report, gate=GateResult(event.get("ok") is True, _reasons(event)))
        case "hook":
            hook = HookResult(_text(event, "name"), _int(event, "status") or 0, _text(event, "output"))
            return replace(report, hooks=(*report.hooks, hook)[-MAX_ITEMS:])
        case "run-once-started":
            started = RunOnceResult(_text(event, "name"))
            return replace(report, run_once=(*report.run_once, started)[-MAX_ITEMS:])
        case "run-once":
            return replace(report, run_once=_with_run_once(report.run_once, event))
        case "finalize":
            return replace(report, finalize=_finalize(event))
        case "ready":
            return replace(report, ready=True)
        case "poweroff":
            return replace(report, powering_off=True)
        case _:
            return report


def _with_boot(report: GuestReport, event: Mapping[str, Any]) -> GuestReport:
    secure = event.get("secure_boot")
    return replace(
        report,
        boot_id=_text(event, "boot_id") or "unknown",
        os_name=_text(event, "os"),
        kernel=_text(event, "kernel"),
        host=_text(event, "host"),
        firmware=_text(event, "firmware"),
        secure_boot=secure if isinstance(secure, bool) else None,
        lockdown=_text(event, "lockdown"),
        boot_uptime_s=_number(event, "uptime_s"),
    )


def _with_run_once(earlier: tuple[RunOnceResult, ...], event: Mapping[str, Any]) -> tuple[RunOnceResult, ...]:
    started, ended = _number(event, "started_s"), _number(event, "ended_s")
    result = RunOnceResult(
        name=_text(event, "name"),
        status=_int(event, "status"),
        output=_text(event, "output"),
        duration_s=None if started is None or ended is None else round(max(0.0, ended - started), 2),
    )
    if earlier and earlier[-1].name == result.name and earlier[-1].status is None:
        earlier = earlier[:-1]
    return (*earlier, result)[-MAX_ITEMS:]


def _finalize(event: Mapping[str, Any]) -> FinalizeResult:
    return FinalizeResult(event.get("ok") is True, event.get("forced") is True, _int(event, "freed_kib") or 0)


def _reasons(event: Mapping[str, Any]) -> tuple[GateReason, ...]:
    value = event.get("reasons")
    items: list[Any] = cast(list[Any], value)[:MAX_ITEMS] if isinstance(value, list) else []
    return tuple(
        GateReason(_text(cast(dict[str, Any], i), "code"), _text(cast(dict[str, Any], i), "detail"))
        for i in items
        if isinstance(i, dict)
    )


def _text(event: Mapping[str, Any], key: str) -> str:
    value = event.get(key)
    return value[:MAX_TEXT_CHARS] if isinstance(value, str) else ""


def _texts(event: Mapping[str, Any], key: str) -> tuple[str, ...]:
    value = event.get(key)
    items: list[Any] = cast(list[Any], value)[:MAX_ITEMS] if isinstance(value, list) else []
    return tuple(i[:MAX_TEXT_CHARS] for i in items if isinstance(i, str))


def _number(event: Mapping[str, Any], key: str) -> float | None:
    value = event.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < MAX_NUMBER:
        return None
    return float(value)


def _int(event: Mapping[str, Any], key: str) -> int | None:
    value = event.get(key)
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) >= MAX_NUMBER:
        return None
    return value
