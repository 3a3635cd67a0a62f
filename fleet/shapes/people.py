"""What the API says of people, tokens and the audit log."""

from __future__ import annotations

from typing import Any

from typing_extensions import TypedDict


class ApiTokenView(TypedDict):
    """A bearer token, without its text. `owner` is the user whose rights bound its own."""

    id: str
    name: str
    role: str
    selector: str
    owner: str | None
    created_at: float
    created_by: str
    expires_at: float | None
    revoked_at: float | None
    last_used_at: float | None


class NewApiTokenView(ApiTokenView):
    """With its text, this one time."""

    token: str


class EnrolmentTokenView(TypedDict):
    """An enrolment token, without its text. `used_at` and `used_by` are of its last use."""

    id: str
    device: str | None
    replace: bool
    labels: dict[str, str]
    uses: int
    used: int
    created_at: float
    created_by: str
    expires_at: float
    used_at: float | None
    used_by: str | None
    revoked_at: float | None


class NewEnrolmentTokenView(EnrolmentTokenView):
    """With its text, this one time."""

    token: str


class BindingView(TypedDict):
    """A role on the devices of a selector; the empty selector is the whole fleet and what belongs to no device."""

    role: str
    selector: str


class UserView(TypedDict):
    """A person. `provider` says whether the identity provider signs this person in; `password`, whether there is one."""

    name: str
    full_name: str
    bindings: list[BindingView]
    disabled: bool
    password: bool
    provider: bool
    created_at: float
    created_by: str
    last_sign_in_at: float | None


class SessionView(TypedDict):
    """Who is signed in. A change by cookie carries `csrf` in the header X-CSRF-Token; empty for a bearer token."""

    name: str
    kind: str
    bindings: list[BindingView]
    csrf: str
    expires_at: float | None


class SignInWays(TypedDict):
    """How people may sign in here."""

    password: bool
    provider: bool


class AuditView(TypedDict):
    """A row of the audit log. `before` and `after` are digests of what was changed; `hash` covers all and the row before."""

    seq: int
    at: float
    actor: str
    action: str
    subject: str
    detail: dict[str, Any]
    request_id: str
    before: str | None
    after: str | None
    hash: str


class AuditHeadView(TypedDict):
    """The end of the audit log, signed (DSSE, the state-signing key) for whoever keeps it elsewhere."""

    count: int
    hash: str
    at: float
    signed: dict[str, Any]
