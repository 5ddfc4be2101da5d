"""Users, and what each role may do (OP-4)."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

from sekiso.console.access import Who, pages
from sekiso.console.answers import go
from sekiso.console.failures import Failure, failure_of
from sekiso.console.forms import Sent, checked
from sekiso.console.rendering import show
from sekiso.errors import RuleError, SekisoError
from sekiso.i18n import mark
from sekiso.model.library import Role
from sekiso.web.auth import Use
from sekiso.web.bodies import NewUser, UserChange
from sekiso.web.params import Ref

_PATH = "/system/users"
#: What each role may do, the most powerful first; each may do what those after it may.
ROLES = (
    (Role.ADMINISTRATOR, mark("Everything, including connectors, agents, users, and the appliance itself.")),
    (Role.LAYER_MANAGER, mark("Layers, packaging machines and caches, and what a publisher may do.")),
    (Role.PUBLISHER, mark("Image templates and images.")),
    (Role.READ_ONLY, mark("Looks at layers, images, tasks, connectors and agents, and changes nothing.")),
)

_pages = pages(_PATH, role=Role.ADMINISTRATOR)


@_pages.get("")
def users(request: Request, use: Use) -> Response:
    """List the users."""
    return show(request, "system/users.html", {"users": use.users.list(), "roles": ROLES})


@_pages.get("/new")
def new_dialog(request: Request) -> Response:
    """Ask for a new user."""
    return _new(request, "", Role.READ_ONLY.value, None)


@_pages.post("")
def add(request: Request, use: Use, who: Who, form: Sent) -> Response:
    """Make a user."""
    name, role = form.text("name"), form.text("role")
    try:
        body = checked(NewUser, {"name": name, "password": repeated(form), "role": role})
        use.users.add(who, body.name, body.password, body.role)
    except SekisoError as error:
        return _new(request, name, role, failure_of(error, request))
    return go(request, _PATH, "The user {name} was created.", name=body.name)


@_pages.get("/{reference}/role")
def role_dialog(request: Request, use: Use, reference: Ref) -> Response:
    """Ask for another role, and whether the user may log in."""
    return _role(request, use, reference)


@_pages.post("/{reference}/role")
def change_role(request: Request, use: Use, who: Who, reference: Ref, form: Sent) -> Response:
    """Change role and whether the user may log in."""
    role, disabled = form.text("role"), form.flag("disabled")
    try:
        body = checked(UserChange, {"role": role, "disabled": disabled})
        view = use.users.change(who, reference, role=body.role, disabled=body.disabled)
    except SekisoError as error:
        return _role(request, use, reference, role=role, disabled=disabled, error=error)
    return go(request, _PATH, "The user {name} was changed.", name=view.name)


@_pages.get("/{reference}/password")
def password_dialog(request: Request, use: Use, reference: Ref) -> Response:
    """Ask for a new password."""
    context = {"user": use.users.get(reference), "failure": None}
    return show(request, "system/user_password.html", context)


@_pages.post("/{reference}/password")
def set_password(request: Request, use: Use, who: Who, reference: Ref, form: Sent) -> Response:
    """Set a password."""
    view = use.users.get(reference)
    try:
        body = checked(UserChange, {"password": repeated(form)})
        use.users.change(who, view.id, password=body.password)
    except SekisoError as error:
        context = {"user": view, "failure": failure_of(error, request)}
        return show(request, "system/user_password.html", context, status=422)
    return go(
        request, _PATH, "The password of {name} was set. Sessions of this user have ended.", name=view.name
    )


@_pages.post("/{reference}/unlock")
def unlock(request: Request, use: Use, who: Who, reference: Ref) -> Response:
    """Let a user log in again who was locked after failed logins."""
    view = use.users.change(who, reference)
    return go(request, _PATH, "The user {name} was unlocked.", name=view.name)


@_pages.delete("/{reference}")
def remove(request: Request, use: Use, who: Who, reference: Ref) -> Response:
    """Delete a user."""
    view = use.users.get(reference)
    use.users.remove(who, view.id)
    return go(request, _PATH, "The user {name} was deleted.", name=view.name)


def repeated(form: Sent, name: str = "password") -> str:
    """Return a new password that was typed twice.

    Args:
        form: the form; the second field is called `<name>-again`.
        name: name of the first field.

    Raises:
        RuleError: both are not the same.
    """
    password = form.secret(name)
    if password != form.secret(f"{name}-again"):
        raise RuleError(
            field=f"{name}-again",
            reason="The passwords are not the same.",
            remedy="Enter the same password twice.",
        )
    return password


def _new(request: Request, name: str, role: str, failure: Failure | None) -> Response:
    context = {"name": name, "role": role, "roles": ROLES, "failure": failure}
    return show(request, "system/user_new.html", context, status=422 if failure else 200)


def _role(
    request: Request,
    use: Use,
    reference: str,
    *,
    role: str | None = None,
    disabled: bool | None = None,
    error: SekisoError | None = None,
) -> Response:
    view = use.users.get(reference)
    context: dict[str, Any] = {
        "user": view,
        "role": view.role.value if role is None else role,
        "disabled": view.disabled if disabled is None else disabled,
        "roles": ROLES,
        "failure": failure_of(error, request) if error else None,
    }
    return show(request, "system/user_role.html", context, status=422 if error else 200)


router = APIRouter()
router.include_router(_pages)
