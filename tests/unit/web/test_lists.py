"""Long lists over REST: search, order, pages, and the audit history as a file (OP-3, OP-4)."""

from __future__ import annotations

import csv
import json
import re
from io import StringIO
from typing import Any

import pytest

from sekiso.model.library import Role
from sekiso.model.task import Subject, SubjectKind
from sekiso.web.exporting import safe_cell

from .world import ROOT, World, problem

LISTS = ("/layers", "/images", "/image-templates", "/agents", "/tasks", "/audit")


@pytest.fixture
def api(quiet_world: World) -> Any:
    """A client that is logged in: each login is in the audit history."""
    return quiet_world.client(Role.ADMINISTRATOR)


def listed(api: Any, path: str) -> tuple[list[Any], int]:
    """The rows and how many there are altogether."""
    answer = api.get(ROOT + path)
    assert answer.status_code == 200, answer.text
    return answer.json(), int(answer.headers["X-Total-Count"])


@pytest.mark.parametrize("path", LISTS)
def test_every_list_comes_in_pages(api: Any, path: str) -> None:
    every, total = listed(api, path)
    assert total == len(every) > 0
    single = [listed(api, f"{path}?offset={n}&limit=1") for n in range(total)]
    assert [rows for rows, _ in single] == [[row] for row in every]
    assert {found for _, found in single} == {total}
    assert listed(api, f"{path}?offset=100") == ([], total)
    assert listed(api, f"{path}?text=nowhere") == ([], 0)


@pytest.mark.parametrize("path", LISTS)
@pytest.mark.parametrize("query", ["sort=colour", "limit=0", "limit=1001", "offset=-1", "text=%00"])
def test_what_a_list_cannot_do(api: Any, path: str, query: str) -> None:
    answer = api.get(f"{ROOT}{path}?{query}")
    problem(answer, 422, "request.invalid")


def test_layers_are_searched_and_sorted(api: Any) -> None:
    def names(query: str) -> list[str]:
        return [view["layer"]["name"] for view in listed(api, f"/layers?{query}")[0]]

    assert names("") == ["Debian", "nginx"]
    assert names("text=NGINX") == ["nginx"]
    assert names("sort=name&descending=true") == ["nginx", "Debian"]
    assert names("sort=changed") == ["nginx", "Debian"]
    assert names("state=editing") == ["nginx"]
    assert names("os_layer=l-os&kind=app") == ["nginx"]
    assert names("kind=platform") == []


def test_images_and_tasks_are_narrowed(api: Any) -> None:
    (image,) = listed(api, "/images?state=published&sort=created")[0]
    template_id = image["image"]["template_id"]
    assert listed(api, f"/images?template={template_id}") == ([image], 1)
    assert listed(api, "/images?template=nothing") == ([], 0)
    newest, _ = listed(api, "/tasks?sort=created")
    oldest, _ = listed(api, "/tasks?sort=created&descending=false")
    assert oldest == newest[::-1]


def test_the_audit_history_is_narrowed(api: Any) -> None:
    every, _ = listed(api, "/audit")
    users, total = listed(api, "/audit?subject_kind=user")
    assert users == [e for e in every if e["subject_kind"] == "user"]
    assert total == len(users) > 0
    middle = every[len(every) // 2]["time_s"]
    assert listed(api, f"/audit?from_s={middle!r}")[0] == [e for e in every if e["time_s"] >= middle]
    assert listed(api, f"/audit?to_s={middle!r}")[0] == [e for e in every if e["time_s"] < middle]
    assert listed(api, "/audit?text=PUBLISHER&action=user")[0] == [
        e for e in every if e["action"].startswith("user") and e["subject_name"] == "publisher"
    ]


# --- export -----------------------------------------------------------------------------------------------

EVIL = '=cmd|"/c calc"!A1'


def exported(api: Any, query: str) -> Any:
    answer = api.get(f"{ROOT}/audit/export?{query}")
    assert answer.status_code == 200, answer.text
    return answer


def test_csv_is_for_spreadsheets(world: World) -> None:
    api = world.client(Role.ADMINISTRATOR)
    subject, details = Subject(SubjectKind.LAYER, "l", EVIL), {"名": '改\n行, "x"'}
    with world.db.begin() as work:
        work.audit.append(actor="＋1", action="layer.change", subject=subject, details=details)
    answer = exported(api, "format=csv")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    name = answer.headers["content-disposition"]
    assert re.fullmatch(r'attachment; filename="sekiso-audit-\d{4}-\d\d-\d\d\.csv"', name)
    assert answer.content.startswith("\ufeffnumber,time,actor".encode())
    rows = list(csv.DictReader(StringIO(answer.content.decode("utf-8-sig"), newline="")))
    shown, _ = listed(api, "/audit")
    assert [int(row["number"]) for row in rows] == [e["number"] for e in shown[::-1]]
    assert [row["hash"] for row in rows] == [e["hash"] for e in shown[::-1]]
    last = rows[-1]
    assert (last["actor"], last["subject_name"]) == ("'＋1", "'" + EVIL)
    assert json.loads(last["details"]) == {"名": '改\n行, "x"'}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", last["time"])
    assert not any(cell.startswith(("=", "+", "-", "@")) for row in rows for cell in row.values())


@pytest.mark.parametrize("begin", ["=", "+", "-", "@", "\t", "\r", "＝", "－", "＠"])
def test_no_cell_is_a_formula(begin: str) -> None:
    assert safe_cell(f"{begin}1+1") == f"'{begin}1+1"
    assert safe_cell(f"a{begin}") == f"a{begin}"
    assert safe_cell("") == ""


def test_json_lines_are_what_the_api_shows(api: Any) -> None:
    answer = exported(api, "format=jsonl&subject_kind=user&text=publisher")
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert answer.headers["content-disposition"].endswith('.jsonl"')
    shown, total = listed(api, "/audit?subject_kind=user&text=publisher")
    assert [json.loads(line) for line in answer.text.splitlines()] == shown[::-1]
    assert total == len(shown) > 0
    assert exported(api, "format=jsonl&text=nowhere").content == b""


def test_lists_are_described(quiet_world: World) -> None:
    paths: dict[str, Any] = quiet_world.app().openapi()["paths"]
    for path in LISTS:
        operation = paths[ROOT + path]["get"]
        names = {parameter["name"] for parameter in operation["parameters"]}
        assert {"text", "sort", "descending", "offset", "limit"} <= names, path
        assert "X-Total-Count" in operation["responses"]["200"]["headers"]
    content = paths[f"{ROOT}/audit/export"]["get"]["responses"]["200"]["content"]
    assert set(content) == {"text/csv", "application/x-ndjson"}
