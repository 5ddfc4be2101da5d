"""Users."""

from __future__ import annotations

from fastapi import Request

from sekiso.services.users import UserView
from sekiso.web.answers import topic
from sekiso.web.auth import Use, Who, secret_of
from sekiso.web.bodies import NewUser, PasswordChange, UserChange
from sekiso.web.params import Ref

router = topic("users")


@router.get("/users", operation_id="list_users")
def list_users(use: Use) -> tuple[UserView, ...]:
    """List the users."""
    return use.users.list()


@router.post("/users", operation_id="add_user", status_code=201)
def add_user(body: NewUser, use: Use, who: Who) -> UserView:
    """Make a user."""
    return use.users.add(who, body.name, body.password, body.role)


@router.post("/users/me/password", operation_id="change_own_password", status_code=204)
def change_own_password(body: PasswordChange, request: Request, use: Use, who: Who) -> None:
    """Change one's own password; one's other sessions end."""
    use.users.change_password(who, body.old, body.new, keep=secret_of(request)[0])


@router.get("/users/{reference}", operation_id="get_user")
def get_user(reference: Ref, use: Use) -> UserView:
    """Show a user."""
    return use.users.get(reference)


@router.patch("/users/{reference}", operation_id="change_user")
def change_user(reference: Ref, body: UserChange, use: Use, who: Who) -> UserView:
    """Change a user."""
    return use.users.change(who, reference, role=body.role, disabled=body.disabled, password=body.password)


@router.delete("/users/{reference}", operation_id="remove_user", status_code=204)
def remove_user(reference: Ref, use: Use, who: Who) -> None:
    """Delete a user."""
    use.users.remove(who, reference)
