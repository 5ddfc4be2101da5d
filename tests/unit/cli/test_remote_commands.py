"""Commands over the REST API: what they ask for, what they print, and that every text can be translated."""

from __future__ import annotations

import ast
import importlib.util
import json
import re
import sys
import tarfile
from collections.abc import Iterator
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import click
import pytest

from sekiso import i18n
from sekiso.cli.connector_options import SETTING_OPTIONS
from sekiso.cli.help import first_sentence
from sekiso.cli.lazy import LazyGroup
from sekiso.cli.main import COMMANDS, cli
from sekiso.connectors.hyperv.settings import HYPERV

from .conftest import Run
from .fake_appliance import FAILED, PNG, FakeAppliance, Refusal

GOLDEN = Path(__file__).parent / "golden"
#: Commands whose output is compared, in the order of the golden file.
SHOWN = tuple(
    (GOLDEN / "commands.txt").read_text(encoding="utf-8").splitlines(),
)
#: What these show was translated by the appliance.
TRANSLATED_THERE = ("connector form hyperv", "settings show", "health")
#: Words in the output that are names or codes, in no language.
NAMES = re.compile(
    r"C:\\[^\n]*|Hyper-V|Debian|External|Linux|Windows|Microsoft|[\w-]+=\w+|NT AUTHORITY.*|"
    r"useHttpsFileTransfer|ignoreCertificateErrors|VHDX?|[MGT]iB|Preparing|Writing|The task began|Done"
)


def groups() -> Iterator[tuple[list[str], click.Command]]:
    """Every command of this interface by its words."""
    context = click.Context(cli)
    for name, later in COMMANDS.items():
        if not later.installed or name in ("engine", "host", "appliance"):
            continue
        command = cli.get_command(context, name)
        assert command is not None
        yield [name], command
        if isinstance(command, click.Group):
            for inner, sub in command.commands.items():
                yield [name, inner], sub


@pytest.mark.parametrize("words", [w for w, _ in groups()], ids=" ".join)
def test_help_and_json(sekiso: Run, words: list[str]) -> None:
    code, out, _ = sekiso(*words, "--help")
    assert code == 0 and out.startswith("Usage: ")
    command = {" ".join(w): c for w, c in groups()}[" ".join(words)]
    assert command.help and command.help[0].isupper()
    first = out.split("\n\n")[1].strip()
    assert first.endswith("."), "help is made of sentences"
    if not isinstance(command, click.Group) and words != ["completion"]:
        assert "--json" in out


def test_every_command_is_documented() -> None:
    page = (Path(__file__).parents[3] / "docs" / "cli.md").read_text(encoding="utf-8")
    commands = [words for words, command in groups() if not isinstance(command, click.Group)]
    assert [words for words in commands if f"sekiso {' '.join(words)}" not in page] == []


def test_summaries_are_the_first_sentences() -> None:
    context = click.Context(cli)
    agent = cli.get_command(context, "agent")
    assert isinstance(agent, LazyGroup) and isinstance(cli, LazyGroup)
    for group in (cli, agent):
        for name, summary in group.summaries():
            command = group.get_command(context, name)
            assert command is not None
            assert name == "host" or first_sentence(command) == summary


@pytest.mark.parametrize("line", SHOWN)
def test_output_in_english(sekiso: Run, appliance: FakeAppliance, line: str) -> None:
    sekiso("image", "publish", "web", "--no-wait")
    code, out, err = sekiso(*line.split(" "))
    found = f"$ sekiso {line}\n{out}{err}[{code}]\n"
    assert found in (GOLDEN / "output.en.txt").read_text(encoding="utf-8"), found


@cache
def every_text() -> dict[str, str]:
    """A catalogue that puts every text that is extracted into marks."""
    place = Path(__file__).parents[3] / "script" / "i18n.py"
    spec = importlib.util.spec_from_file_location("script_i18n_for_cli", place)
    assert spec is not None and spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = script
    spec.loader.exec_module(script)
    found = dict[str, str]()
    for where in ("cli/**/*.py", "connectors/**/*.py", "wording.py"):
        for path in (script.SOURCE / "sekiso").glob(where):
            collector = script.Collector()
            collector.visit(ast.parse(path.read_text(encoding="utf-8")))
            found |= {text: f"【{text}】" for text, _ in collector.texts}
    return found


@pytest.fixture
def marked(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    table = every_text()
    monkeypatch.setattr(i18n, "_catalogue", lambda _: table)  # pyright: ignore[reportUnknownLambdaType]
    i18n._templates.cache_clear()  # pyright: ignore[reportPrivateUsage]
    yield
    i18n._templates.cache_clear()  # pyright: ignore[reportPrivateUsage]


@pytest.mark.usefixtures("marked")
@pytest.mark.parametrize("line", [line for line in SHOWN if line not in TRANSLATED_THERE])
def test_every_text_is_extracted_and_translated(sekiso: Run, appliance: FakeAppliance, line: str) -> None:
    sekiso("image", "publish", "web", "--no-wait")
    _, out, err = sekiso(*line.split(" "), lang="ja")
    rest = re.sub(r"【[^【】]*】", "", out + err)
    rest = re.sub(r"【[^【】]*】", "", rest)  # marks in marks: values that are texts themselves
    assert not re.findall(r"\b[A-Z][a-z]+\b", NAMES.sub("", rest)), rest


def test_language_is_asked_of_the_appliance(sekiso: Run, appliance: FakeAppliance) -> None:
    sekiso("agent", "list", lang="ja")
    assert appliance.headers[-1]["accept-language"] == "ja"
    assert appliance.headers[-1]["authorization"].startswith("Bearer ")


def test_json_is_what_the_appliance_sends(sekiso: Run, appliance: FakeAppliance) -> None:
    for words in (["layer", "list"], ["connector", "show", "prod"], ["image", "list"], ["task", "list"]):
        code, out, err = sekiso(*words, "--json")
        assert (code, err) == (0, "")
        assert isinstance(json.loads(out), dict)
    for words, key in (
        (["agent", "list"], "agents"),
        (["image", "list"], "images"),
        (["layer", "list"], "layers"),
        (["layer", "conflicts", "Debian"], "conflicts"),
        (["template", "list"], "templates"),
        (["connector", "list"], "configurations"),
        (["task", "list"], "tasks"),
        (["audit", "list"], "entries"),
    ):
        assert isinstance(json.loads(sekiso(*words, "--json")[1])[key], list)
    assert json.loads(sekiso("agent", "token", "--json")[1])["token"] == "one-time"


def test_every_setting_has_an_option() -> None:
    assert {f.name for f in HYPERV.fields} == {"name", *SETTING_OPTIONS}


def test_connector_create_sends_what_was_given(sekiso: Run, appliance: FakeAppliance) -> None:
    words = "--agent hv01 --storage-path C:\\VM --no-offload --generation 1 --disk-format vhd --cpus 2"
    more = "--memory-mb 2048 --network lan --template-vm t --cache-gb 10 --unc-path \\\\s\\x --set extra=7"
    code, _, _ = sekiso("connector", "create", "new", *words.split(), *more.split())
    assert code == 0
    assert appliance.changes() == [
        (
            "POST",
            "/connector-configurations",
            {
                "connector": "hyperv",
                "values": {
                    "name": "new",
                    "agent": "hv01",
                    "storage_path": "C:\\VM",
                    "offload": False,
                    "generation": 1,
                    "disk_format": "vhd",
                    "cpus": 2,
                    "memory_mb": 2048,
                    "network": "lan",
                    "template_vm": "t",
                    "cache_gb": 10,
                    "storage_unc_path": "\\\\s\\x",
                    "extra": 7,
                },
            },
        )
    ]


def test_connector_update_keeps_the_rest(sekiso: Run, appliance: FakeAppliance) -> None:
    assert sekiso("connector", "update", "prod", "--cpus", "8", "--network", "")[0] == 0
    (_, path, body), *_ = appliance.changes()
    assert path == "/connector-configurations/prod"
    assert body["values"]["cpus"] == 8 and body["values"]["network"] is None
    assert body["values"]["memory_mb"] == 8192 and body["values"]["name"] == "prod"
    assert sekiso("connector", "update", "prod")[0] == 2


def test_a_failed_test_saves_nothing(sekiso: Run, appliance: FakeAppliance) -> None:
    appliance.rows.append(FAILED)
    code, out, err = sekiso("connector", "create", "new", "--agent", "hv01", "--test")
    assert code == 3 and "Nothing was saved." in err
    assert re.search(
        r"^Failed +Network switch +There is no switch lan\.\n +→ Choose another switch\.$", out, re.M
    )
    assert [r[1] for r in appliance.changes()] == ["/connector-configurations/test"]
    code, out, _ = sekiso("connector", "test", "prod", "--json")
    assert code == 3 and [row["status"] for row in json.loads(out)["checks"]] == [
        "passed",
        "passed",
        "failed",
    ]


def test_rules_are_shown_one_per_line(sekiso: Run, appliance: FakeAppliance) -> None:
    appliance.refusals["POST", "/connector-configurations"] = Refusal(
        422,
        "configuration.invalid",
        "接続構成を保存できません。",
        detail="VHDXだけです。",
        resolution="項目を直してください。",
        family="usage",
        errors=[
            {"field": "generation", "code": "x", "reason": "世代2には必要です。", "remedy": "有効にします。"},
            {"field": "disk_format", "code": "y", "reason": "VHDXだけです。", "remedy": ""},
        ],
    )
    words = ("connector", "create", "new", "--agent", "hv01")
    code, out, err = sekiso(*words, lang="ja")
    assert (code, out) == (2, "")
    assert err == (
        "エラー: 接続構成を保存できません。\n"
        "  generation: 世代2には必要です。 有効にします。\n"
        "  disk_format: VHDXだけです。\n"
        "  項目を直してください。\n"
    )
    code, out, err = sekiso(*words, "--json")
    error = json.loads(out)["error"]
    assert (code, err, error["code"], len(error["errors"])) == (2, "", "configuration.invalid", 2)


@pytest.mark.parametrize(
    ("status", "members", "code"),
    [
        (404, {}, 4),
        (409, {}, 5),
        (409, {"family": "guest"}, 10),
        (422, {"family": "verification"}, 9),
        (422, {}, 2),
        (400, {}, 3),
        (403, {}, 2),
        (502, {}, 8),
        (503, {}, 7),
        (500, {}, 1),
    ],
)
def test_exit_codes(
    sekiso: Run, appliance: FakeAppliance, status: int, members: dict[str, Any], code: int
) -> None:
    appliance.refusals["GET", "/agents"] = Refusal(status, "some.code", "It failed.", **members)
    assert sekiso("agent", "list")[0] == code


def test_session_that_has_ended(
    sekiso: Run, appliance: FakeAppliance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEKISO_TOKEN", "old")
    code, _, err = sekiso("agent", "list")
    assert code == 2 and "sekiso login URL" in err


def test_layer_versions_are_found_by_name(sekiso: Run, appliance: FakeAppliance, tmp_path: Path) -> None:
    folder = tmp_path / "setup"
    (folder / "files").mkdir(parents=True)
    (folder / "run.sh").write_text("#!/bin/sh\n")
    (folder / "files" / "a").write_bytes(b"a" * 3000)
    words = ("layer", "create", "redis", "--kind", "app", "--version", "7", "--connector", "prod")
    code, _, _ = sekiso(
        *words, "--os", "debian:11", "--requires", "nginx", "--requires", "a:b:1:2", "--run-once", str(folder)
    )
    assert code == 0
    assert appliance.changes()[-1][2] == {
        "kind": "app",
        "name": "redis",
        "version": "7",
        "notes": "",
        "icon": "",
        "priority": None,
        "os_version_id": "v-os-11",
        "prerequisite_version_ids": ["v-nginx-1.22", "v-odd-1:2"],
        "configuration": "prod",
        "run_once_upload_id": "up-1",
        "auto_finalize": None,
    }
    with tarfile.open(fileobj=BytesIO(appliance.uploads[0])) as archive:
        assert archive.getnames() == ["files", "files/a", "run.sh"]
    (folder / "run.sh").unlink()
    assert sekiso(*words, "--os", "Debian", "--run-once", str(folder))[0] == 4


@pytest.mark.parametrize("reference", ["Debian:13", "nope", "nginx:1.22:x", "nginx"])
def test_layer_versions_that_are_not_there(sekiso: Run, appliance: FakeAppliance, reference: str) -> None:
    words = ("layer", "create", "x", "--kind", "app", "--version", "7", "--connector", "prod")
    assert sekiso(*words, "--os", reference)[0] == 4
    assert appliance.changes() == []


def test_delete_version_names_its_version(sekiso: Run, appliance: FakeAppliance) -> None:
    assert sekiso("layer", "delete-version", "nginx", "--yes")[0] == 4
    assert sekiso("layer", "delete-version", "nginx:1.22", "--yes")[0] == 0
    assert appliance.changes() == [("DELETE", "/layer-versions/v-nginx-1.22", b"")]


def test_nothing_is_deleted_without_an_answer(sekiso: Run, appliance: FakeAppliance) -> None:
    for words in (
        ["layer", "delete", "nginx"],
        ["template", "delete", "web"],
        ["image", "delete", "x"],
        ["connector", "delete", "prod"],
        ["agent", "remove", "hv01"],
        ["user", "remove", "x"],
        ["cache", "clear", "prod"],
    ):
        assert sekiso(*words)[0] == 130
        assert appliance.changes() == []


def test_add_version_and_import(sekiso: Run, appliance: FakeAppliance) -> None:
    words = ("layer", "add-version", "Debian", "--version", "12-gen2", "--from", "12", "--connector", "gen2")
    assert sekiso(*words)[0] == 0
    method, path, body = appliance.changes()[-1]
    assert (method, path) == ("POST", "/layers/os/versions")
    assert body["from_version_id"] == "v-os-12" and body["prerequisite_version_ids"] is None
    words = ("layer", "import-os", "Debian", "--version", "13", "--connector", "prod")
    assert sekiso(*words)[0] == 2
    assert sekiso(*words, "--machine", "deb")[0] == 0
    assert appliance.changes()[-1][2]["source"] == {"disk_path": None, "machine": "deb"}


def test_template_create_and_change(sekiso: Run, appliance: FakeAppliance) -> None:
    words = ("template", "create", "web", "--connector", "prod", "--os", "Debian", "--app", "nginx")
    assert sekiso(*words, "--platform", "drivers", "--size", "60G", "--generalize", "none")[0] == 0
    assert appliance.changes()[-1][2] == {
        "name": "web",
        "configuration": "prod",
        "os_version_id": "v-os-12",
        "app_version_ids": ["v-nginx-1.22"],
        "platform_version_id": "v-drivers-1",
        "size_bytes": 60 << 30,
        "generalization": "none",
    }
    assert sekiso("template", "change", "web", "--no-platform", "--keep-last", "3")[0] == 0
    body = appliance.changes()[-1][2]
    assert body["platform_version_id"] is None and body["keep_last"] == 3
    assert body["configuration"] == "c-1" and body["app_version_ids"] == ["v-nginx-1.22"]
    assert sekiso("template", "change", "web")[0] == 2


def test_connector_file_settings(sekiso: Run, appliance: FakeAppliance) -> None:
    assert sekiso("connector", "set", "hyperv", "ignoreCertificateErrors=false")[0] == 0
    assert appliance.changes() == [
        (
            "PUT",
            "/connectors/hyperv/settings",
            {"values": {"ignoreCertificateErrors": False}},
        )
    ]
    assert sekiso("connector", "set", "hyperv", "x")[0] == 2
    assert sekiso("connector", "restart", "hyperv")[0] == 0


def test_a_broken_audit_history(sekiso: Run, appliance: FakeAppliance) -> None:
    appliance.broken = 7
    code, _, err = sekiso("audit", "verify")
    assert code == 9 and "The entry 7 does not fit the one before it." in err


def test_pictures(sekiso: Run, appliance: FakeAppliance, tmp_path: Path) -> None:
    file = tmp_path / "screen.png"
    assert sekiso("layer", "machine", "nginx", "--screenshot", str(file))[0] == 0
    assert file.read_bytes() == PNG
    assert sekiso("image", "screenshot", "web", "--out", str(file))[0] == 5
    assert sekiso("layer", "machine", "nginx", "--keys", "a ctrl-alt-delete")[0] == 0
    assert appliance.changes()[-1][2] == {"keys": ["a", "ctrl-alt-delete"]}
    assert sekiso("layer", "machine", "nginx", "--keys", "a", "--start")[0] == 2


def test_apply(sekiso: Run, appliance: FakeAppliance, tmp_path: Path) -> None:
    file = tmp_path / "prod.yaml"
    file.write_text("kind: a\nversion: 1\n---\n- kind: b\n- kind: c\n---\n")
    code, out, _ = sekiso("apply", "-f", str(file), "--dry-run")
    assert code == 0 and re.search(r"^prod +Created$", out, re.M) and "Nothing was written." in out
    body = [{"kind": "a", "version": 1}, {"kind": "b"}, {"kind": "c"}]
    assert appliance.changes() == [("POST", "/connector-configurations/apply", body)]


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("a: 1\nb: {c: 1, c: 2}\n", "Line 2, column 11: the key c stands there twice."),
        ("a: &x 1\nb: *x\n", "Line 2, column 4: aliases are not read."),
        ("a: [1\n", "Line 2, column 1"),
        ("a: !!python/name:os.system\n", "Line 1, column 4"),
        ("a: \x07\n", "It is no YAML"),
        ("[" * 5000, "nested too deeply"),
        ("a: 2026-99-99\n", "It says"),
    ],
)
def test_files_that_cannot_be_applied(
    sekiso: Run, appliance: FakeAppliance, tmp_path: Path, text: str, where: str
) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(text)
    code, _, err = sekiso("apply", "-f", str(file))
    assert code == 3 and where in err
    assert appliance.requests == []


def test_export(sekiso: Run, appliance: FakeAppliance, tmp_path: Path) -> None:
    assert sekiso("connector", "export")[1] == "kind: connector-configuration\n"
    file = tmp_path / "all.yaml"
    assert sekiso("connector", "export", "prod", "--out", str(file))[0] == 0
    assert file.read_text() == "kind: connector-configuration\n"


def test_users_and_tokens(sekiso: Run, appliance: FakeAppliance, tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("correct horse\n")
    assert sekiso("user", "add", "eve", "--role", "publisher", "--password-file", str(secret))[0] == 0
    assert appliance.changes()[-1][2] == {"name": "eve", "role": "publisher", "password": "correct horse"}
    assert sekiso("user", "change", "eve", "--disable")[0] == 0
    assert appliance.changes()[-1][2] == {"disabled": True}
    assert sekiso("token", "create", "ci", "--forever")[1] == "sk_1\n"
    assert sekiso("token", "revoke", "ci")[0] == 0
    assert appliance.changes()[-1][:2] == ("DELETE", "/tokens/k-1")


def test_names_complete(appliance: FakeAppliance) -> None:
    from click.shell_completion import ShellComplete

    complete = ShellComplete(cli, {}, "sekiso", "_SEKISO_COMPLETE")

    def names(*words: str) -> list[str]:
        return [item.value for item in complete.get_completions(list(words[:-1]), words[-1])]

    assert names("agent", "show", "h") == ["hv01"]
    assert names("template", "create", "x", "--app", "nginx") == ["nginx:1.22", "nginx:1.23"]
    assert names("con") == ["connector"]
    assert "create" in names("layer", "")
    appliance.lost = 9
    assert names("agent", "show", "h") == []


def test_completion_scripts(sekiso: Run) -> None:
    for shell in ("bash", "zsh", "fish"):
        assert "_SEKISO_COMPLETE" in sekiso("completion", shell)[1]
