"""The page of a packaging machine: what to do next, its screen, Finalize (LY-2, LY-8)."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from sekiso.agent.contract import PackagingState, PackagingStates
from sekiso.agent.link.errors import AgentOfflineError
from sekiso.hypervisors.errors import WrongStateError
from sekiso.model.library import PackagingFacts, Role, VersionRecord, VersionState
from sekiso.model.task import TaskFilter, TaskKind, TaskState
from sekiso.services.core import APPLIANCE
from sekiso.services.layer_tasks import AddVersion
from sekiso.tasks.flows.finalize_layer import PendingWorkError
from sekiso.tasks.flows.params import CreateLayerTask, unpack

from ..web.world import INVENTORY, STORAGE, World
from .conftest import Browser, Make, text_of
from .test_tasks import VERSION, add

MACHINE = "/layers/versions/v-edit/machine"
OFF = PackagingState("v-edit", "off", gate_known=True)
UNFINISHED = replace(OFF, gate=("package-half-configured: nginx", "unheard-of: <b>"))
Says = Callable[[PackagingState | Exception], None]


@pytest.fixture
def says(world: World, monkeypatch: pytest.MonkeyPatch) -> Says:
    """Have the agent say how the machine stands."""
    usual = world.agents.call

    def say(what: PackagingState | Exception) -> None:
        def call(agent_id: str, method: str, params: Any, **more: Any) -> Any:
            if method != "packaging.states":
                return usual(agent_id, method, params, **more)
            if isinstance(what, Exception):
                raise what
            return PackagingStates(tuple(replace(what, version_id=v) for v in params.version_ids))

        monkeypatch.setattr(world.agents, "call", call)

    return say


def change(world: World, *, machine_name: str | None = None, **changes: Any) -> VersionRecord:
    """Change the version, or the name of its machine; return it as it was."""
    with world.db.begin() as work:
        before = work.versions.get("v-edit")
        if machine_name is not None and before.packaging is not None:
            changes["packaging"] = replace(before.packaging, machine_name=machine_name)
        work.versions.replace(replace(before, **changes))
    return before


def under(world: World, hypervisor: str) -> None:
    """Have the agent's host run a hypervisor."""
    with world.db.begin() as work:
        record = work.agents.get("a-1")
        work.agents.replace(replace(record, inventory=replace(INVENTORY, hypervisor=hypervisor)))


# What to do next


@pytest.mark.parametrize("language", ["en", "ja"])
@pytest.mark.parametrize(
    ("state", "said"),
    [
        (PackagingState("v-edit", "starting"), ("The machine is starting.", "マシンを起動しています。")),
        (PackagingState("v-edit", "running"), ("Install what the layer", "インストールしてください。")),
        (PackagingState("v-edit", "stopping"), ("is shutting down.", "シャットダウンしています。")),
        (PackagingState("v-edit", "paused"), ("is paused.", "一時停止しています。")),
        (PackagingState("v-edit", "saved"), ("is saved.", "保存されています。")),
        (PackagingState("v-edit", "critical"), ("critical state.", "重大な状態です。")),
        (PackagingState("v-edit", ""), ("not there any more.", "マシンがなくなっています。")),
        (PackagingState("v-edit", "off"), ("its guest has not reported.", "ゲストからの報告がありません。")),
        (OFF, ("nothing is unfinished in it.", "未完了の処理はありません。")),
        (UNFINISHED, ("Something is unfinished", "未完了の処理があります。")),
    ],
    ids=lambda value: value.state if isinstance(value, PackagingState) else "",
)
def test_every_state_says_what_to_do(
    browse: Make, says: Says, language: str, state: PackagingState, said: tuple[str, str]
) -> None:
    says(state)
    text = text_of(browse(language=language).get(MACHINE))
    assert said[language == "ja"] in text


@pytest.mark.parametrize(
    ("state", "buttons"),
    [
        (PackagingState("v-edit", "running"), {"shut-down", "turn-off", "discard"}),
        (PackagingState("v-edit", "stopping"), {"turn-off", "discard"}),
        (OFF, {"finalize", "start", "discard"}),
        (PackagingState("v-edit", "off"), {"finalize", "start", "discard"}),
        (UNFINISHED, {"start", "discard"}),
        (PackagingState("v-edit", "saved"), {"start", "discard"}),
        (PackagingState("v-edit", ""), {"discard"}),
    ],
)
def test_buttons_that_fit_the_state(
    console: Browser, says: Says, state: PackagingState, buttons: set[str]
) -> None:
    says(state)
    part = console.part(f"{MACHINE}/facts")
    found = set(re.findall(rf'<button[^>]*hx-post="{MACHINE}/([\w-]+)"', part.text))
    assert found == buttons
    assert ('id="finalize-anyway"' in part.text) == (state is UNFINISHED)


def test_the_gate_by_name(console: Browser, says: Says) -> None:
    says(
        replace(UNFINISHED, run_once_running=("setup",), run_once_failed=("first: status 7. out: of <disk>",))
    )
    part = console.part(f"{MACHINE}/facts")
    text = text_of(part)
    assert "A package is not fully configured nginx" in text and "Something else unheard-of: <b>" in text
    assert "A script has begun and not ended setup" in text
    assert "A script failed first" in text and "status 7. out: of <disk>" in text
    assert "<disk>" not in part.text and "<b>" not in part.text


def test_an_agent_that_is_away_is_a_state_of_the_page(world: World, console: Browser, says: Says) -> None:
    says(AgentOfflineError(agent="hv01"))
    answer = console.part(f"{MACHINE}/facts")
    # No message every three seconds.
    assert answer.status_code == 200 and "sekiso:failure" not in answer.headers.get("hx-trigger", "")
    world.agents.connected = []
    text = text_of(console.part(f"{MACHINE}/facts"))
    assert "The agent is not connected." in text and "Finalize" not in text


def test_while_the_machine_is_made(world: World, console: Browser) -> None:
    add(world, "t-1", TaskKind.CREATE_LAYER, TaskState.RUNNING, VERSION, percent=30.0, step="Preparing")
    before = change(world, packaging=None, holder_task_id="t-1")
    page = console.get(MACHINE)
    assert "The packaging machine is being made." in text_of(page) and "30%" in text_of(page)
    # Now it is there: the page is loaded anew, for the screen.
    change(world, packaging=before.packaging, holder_task_id=None)
    part = re.search(r'id="machine-facts" hx-get="([^"]*)"', page.text)
    assert part is not None and console.part(part[1]).headers["hx-refresh"] == "true"


def test_while_it_is_finalized_and_after(world: World, console: Browser) -> None:
    add(world, "t-1", TaskKind.FINALIZE_LAYER, TaskState.RUNNING, VERSION, percent=63.0)
    change(world, state=VersionState.FINALIZING, holder_task_id="t-1")
    text = text_of(console.part(f"{MACHINE}/facts"))
    assert "The layer version is being finalized." in text and "63%" in text and "Discard" not in text
    change(world, state=VersionState.DEPLOYABLE, holder_task_id=None, packaging=None)
    answer = console.part(f"{MACHINE}/facts")
    assert answer.headers["hx-redirect"] == "/layers/versions/v-edit"
    notice = json.loads(answer.headers["hx-trigger"])["sekiso:notice"]
    assert notice == {"text": "The layer version nginx 1.1 is deployable.", "later": True}
    assert console.get(MACHINE).headers["location"] == "/layers/versions/v-edit"


def test_after_it_was_discarded(world: World, console: Browser) -> None:
    with world.db.begin() as work:
        work.versions.remove("v-edit")
    assert console.part(f"{MACHINE}/facts").headers["hx-redirect"] == "/layers"
    assert console.get(MACHINE).status_code == 404


def test_why_finalizing_failed(world: World, console: Browser, says: Says) -> None:
    says(OFF)
    error = PendingWorkError(machine="nginx", reason="lock-held: dpkg").to_dict()
    add(world, "t-1", TaskKind.FINALIZE_LAYER, TaskState.FAILED, VERSION, error=error, ended_s=1.0)
    part = console.part(f"{MACHINE}/facts")
    assert "Finalizing failed." in text_of(part) and "lock-held: dpkg" in text_of(part)
    # The gate on the disk itself has found it: overriding must be possible although the guest said nothing.
    assert 'id="finalize-anyway"' in part.text and 'id="finalize"' in part.text


# Acting


@pytest.mark.parametrize("action", ["start", "shut-down", "turn-off"])
def test_power(world: World, console: Browser, action: str) -> None:
    answer = console.send(f"{MACHINE}/{action}")
    events = json.loads(answer.headers["hx-trigger"])
    assert answer.status_code == 204 and set(events) == {"sekiso:notice", "sekiso:tasks"}
    assert f"packaging.{action}" in [method for method, _ in world.agents.calls]


@pytest.mark.parametrize(("sent", "overridden"), [({}, False), ({"override_gate": "on"}, True)])
def test_finalize(world: World, console: Browser, sent: dict[str, str], *, overridden: bool) -> None:
    creation = world.services.layers.add_version(APPLIANCE, "nginx", AddVersion("2.0", "prod"))
    version_id = creation.subjects[0].id
    with world.db.begin() as work:
        work.tasks.replace(replace(creation, state=TaskState.ACTION_REQUIRED))
        made = unpack(creation.params, CreateLayerTask)
        facts = PackagingFacts(made.site.configuration_id, "a-1", STORAGE, "m-8", "nginx 2.0")
        work.versions.add(replace(made.version, packaging=facts, state=VersionState.FINALIZABLE))
    answer = console.send(f"/layers/versions/{version_id}/machine/finalize", sent)
    assert answer.status_code == 204, answer.headers
    task = next(t for t in world.services.tasks.list(TaskFilter()) if t.kind is TaskKind.FINALIZE_LAYER)
    assert task.params["ignore_gate"] is overridden and task.subjects[0].id == version_id


def test_discard(world: World, console: Browser) -> None:
    assert console.send(f"{MACHINE}/discard").status_code == 204
    tasks = world.services.tasks.list(TaskFilter())
    assert [t.kind for t in tasks if t.kind is TaskKind.DISCARD_PACKAGING]


@pytest.mark.parametrize("role", [Role.PUBLISHER, Role.READ_ONLY])
def test_others_look_on(world: World, browse: Make, role: Role) -> None:
    under(world, "QEMU")
    browser = browse(role)
    page = browser.get(MACHINE)
    assert f'hx-post="{MACHINE}' not in page.text and "data-screen=" not in page.text
    assert "needs the role Layer manager" in text_of(page) and f'hx-get="{MACHINE}/picture"' in page.text
    before = len(world.agents.calls)
    for action in ("start", "shut-down", "turn-off", "finalize", "discard"):
        assert browser.send(f"{MACHINE}/{action}").status_code == 403
    assert browser.get(f"{MACHINE}/screen.rdp").status_code == 403
    assert len(world.agents.calls) == before


# The screen


def test_the_screen_in_the_browser(world: World, console: Browser) -> None:
    under(world, "QEMU")
    page = console.get(MACHINE)
    assert 'data-screen="/api/v1/layer-versions/v-edit/machine/screen"' in page.text
    assert "screen.js" in page.text and "screen.rdp" not in page.text
    # What refreshes itself does not hold the screen.
    assert "data-screen" not in console.part(f"{MACHINE}/facts", screen="rfb").text


def test_the_screen_on_a_hyper_v_server(world: World, console: Browser) -> None:
    under(world, "Hyper-V")
    change(world, machine_name='nginx "1.1"')
    page = console.get(MACHINE)
    assert "screen.js" not in page.text
    assert "vmconnect.exe hv01.example &#34;nginx 1.1&#34;" in page.text
    file = console.get(f"{MACHINE}/screen.rdp")
    assert file.headers["content-type"] == "application/x-rdp" and b"server port:i:2179" in file.content
    assert file.headers["content-disposition"].startswith("attachment; filename*=UTF-8''nginx%20_1.1_.rdp")


def test_the_picture(world: World, console: Browser) -> None:
    assert 'src="data:image/png;base64,' in console.part(f"{MACHINE}/picture").text
    world.agents.failures["packaging.screenshot"] = WrongStateError(
        machine="m", state="off", operation="x", needed="running"
    )
    answer = console.part(f"{MACHINE}/picture")
    assert answer.status_code == 200 and "There is no picture: the machine is off." in text_of(answer)
    world.agents.connected = []
    assert "<img" not in console.part(f"{MACHINE}/picture").text


def test_names_are_no_markup(world: World, console: Browser) -> None:
    name = "<script>alert(1)</script>"
    with world.db.begin() as work:
        work.layers.replace(replace(work.layers.get("l-app"), name=name))
    change(world, name=name, machine_name=name)
    page = console.get(MACHINE)
    assert page.status_code == 200 and "<script>alert" not in page.text and "alert(1)" in page.text
