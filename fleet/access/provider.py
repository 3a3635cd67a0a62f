"""Sign-in by an OpenID Connect provider: authorization code with PKCE (OpenID Connect Core 1.0 §3.1, RFC 7636, RFC 9700).

State, nonce and verifier are kept here, each for one sign-in; the state is bound to the browser by a cookie, so that nobody can be
signed in as somebody else by a link. The ID token is believed once signature, issuer, audience, nonce and times hold.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urlsplit

import httpx
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet
from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from fleet import audit, config
from fleet.access.sessions import Sessions, SignedIn
from fleet.access.tables import ProviderLogin, User
from fleet.access.users import bind, read_rights, rights_of
from fleet.auth import token_hash
from fleet.clock import Clock, Ids
from fleet.db import Database
from fleet.errors import Misconfigured, NotAllowed, NotFound, Transient
from wire.names import is_name
from wire.reasons import Reason

LOGIN_S = 600.0
TIMEOUT_S = 10.0
ANSWER_BYTES = 1024 * 1024
LEEWAY_S = 60
"""How far apart the two clocks may be."""
ALGORITHMS = ["RS256", "PS256", "ES256", "EdDSA"]
_UNFIT = re.compile(r"[^A-Za-z0-9._-]+")


@dataclass(frozen=True)
class Begun:
    """Where the browser goes, and what it keeps until it is back."""

    url: str
    state: str


class Provider:
    """Signs people in. None is configured where the issuer is empty."""

    def __init__(
        self,
        settings: config.Provider,
        secret: str,
        database: Database,
        clock: Clock,
        ids: Ids,
        sessions: Sessions,
        client: Callable[[], httpx.AsyncClient] = lambda: httpx.AsyncClient(timeout=TIMEOUT_S),
    ) -> None:
        self._settings = settings
        self._secret = secret
        self._database = database
        self._clock = clock
        self._ids = ids
        self._sessions = sessions
        self._client = client

    async def begin(self) -> Begun:
        """:raises NotFound: no provider is configured
        :raises Transient: it does not answer
        """
        if not self._settings.issuer:
            raise NotFound("identity provider", "oidc", "see [oidc] of fleet.toml")
        async with self._client() as http:
            described = await self._discover(http)
        state, nonce, verifier = (self._ids.secret() for _ in range(3))
        await asyncio.to_thread(self._keep, state, nonce, verifier)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")
        asked = {
            "response_type": "code",
            "client_id": self._settings.client_id,
            "redirect_uri": self._settings.redirect_url,
            "scope": " ".join(self._settings.scopes),
            "state": state,
            "nonce": nonce,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        address = str(described["authorization_endpoint"])
        return Begun(f"{address}{'&' if '?' in address else '?'}{urlencode(asked)}", state)

    async def finish(self, code: str, state: str, kept_state: str | None) -> SignedIn:
        """What the provider sent the browser back with, against a session.

        :raises NotAllowed: the answer is not one to this browser's request, or the person may do nothing here
        :raises Transient: the provider does not answer
        """
        if kept_state is None or not hmac.compare_digest(kept_state.encode(), state.encode()):
            raise _failed("the answer belongs to no sign-in of this browser")
        login = await asyncio.to_thread(self._take, state)
        async with self._client() as http:
            described = await self._discover(http)
            token = await self._exchange(http, described, code, login.verifier)
            keys = await self._ask(http, "GET", str(described["jwks_uri"]))
        claims = self._verified(token, keys, login.nonce)
        return await asyncio.to_thread(self._signed_in, claims)

    def _keep(self, state: str, nonce: str, verifier: str) -> None:
        at = self._clock.wall()
        with self._database.write(alone=False) as session:
            session.execute(delete(ProviderLogin).where(ProviderLogin.expires_at < at))
            row = ProviderLogin(
                state=token_hash(state), nonce=nonce, verifier=verifier, expires_at=at + LOGIN_S
            )
            session.add(row)

    def _take(self, state: str) -> ProviderLogin:
        with self._database.write() as session:
            login = session.get(ProviderLogin, token_hash(state))
            if login is None or login.expires_at < self._clock.wall():
                raise _failed("the sign-in has taken too long, or was used already; begin again")
            session.delete(login)
            return login

    async def _discover(self, http: httpx.AsyncClient) -> dict[str, Any]:
        """The provider's own description (OpenID Connect Discovery 1.0 §4)."""
        issuer = self._settings.issuer.rstrip("/")
        described = await self._ask(http, "GET", f"{issuer}/.well-known/openid-configuration")
        if str(described.get("issuer", "")).rstrip("/") != issuer:
            raise _failed(f"the provider calls itself {described.get('issuer')!r}, not {issuer!r}")
        for name in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
            if urlsplit(str(described.get(name, ""))).scheme not in _schemes(issuer):
                raise _failed(f"the provider's {name} {described.get(name)!r} is no address to trust")
        return described

    async def _exchange(
        self, http: httpx.AsyncClient, described: Mapping[str, Any], code: str, verifier: str
    ) -> str:
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self._settings.redirect_url,
            "client_id": self._settings.client_id,
            "code_verifier": verifier,
        }
        ways = described.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
        auth = None
        if self._secret and "client_secret_basic" in ways:
            auth = httpx.BasicAuth(self._settings.client_id, self._secret)
        elif self._secret:
            form["client_secret"] = self._secret
        answer = await self._ask(http, "POST", str(described["token_endpoint"]), data=form, auth=auth)
        token = answer.get("id_token")
        if not isinstance(token, str):
            raise _failed("the provider's answer holds no id_token; is `openid` among the scopes?")
        return token

    async def _ask(self, http: httpx.AsyncClient, method: str, url: str, **options: Any) -> dict[str, Any]:
        try:
            answer = await http.request(method, url, **options)
            body = answer.json() if len(answer.content) <= ANSWER_BYTES else None
        except httpx.HTTPError as e:
            raise Transient(
                Reason.PROVIDER_FAILED, f"the identity provider does not answer at {url}: {e}"
            ) from e
        except ValueError:
            body = None
        if answer.status_code != 200 or not isinstance(body, dict):
            told = body.get("error") if isinstance(body, dict) else None
            raise _failed(f"{url} answered {answer.status_code} {str(told or '')[:80]}".rstrip())
        return body

    def _verified(self, token: str, keys: dict[str, Any], nonce: str) -> dict[str, Any]:
        try:
            claims = jwt.decode(token, KeySet.import_key_set(keys), algorithms=ALGORITHMS).claims  # type: ignore[arg-type]
            registry = jwt.JWTClaimsRegistry(
                now=int(self._clock.wall()),
                leeway=LEEWAY_S,
                iss={"essential": True, "value": self._settings.issuer.rstrip("/")},
                aud={"essential": True, "value": self._settings.client_id},
                exp={"essential": True},
                iat={"essential": True},
                sub={"essential": True},
                nonce={"essential": True, "value": nonce},
            )
            registry.validate({**claims, "iss": str(claims.get("iss", "")).rstrip("/")})
        except (JoseError, ValueError, KeyError, TypeError) as e:
            raise _failed(f"the ID token cannot be believed: {e}") from e
        several = isinstance(claims["aud"], list) and len(claims["aud"]) > 1
        if several and claims.get("azp") != self._settings.client_id:
            raise _failed("the ID token was issued to another program")
        return dict(claims)

    def _signed_in(self, claims: Mapping[str, Any]) -> SignedIn:
        subject = f"{self._settings.issuer.rstrip('/')}|{claims['sub']}"[:512]
        with self._database.write() as session:
            user = session.scalar(select(User).where(User.subject == subject))
            user = user or self._first_time(session, subject, claims)
            if user.disabled:
                raise _failed(f"the account {user.name!r} is disabled here")
            if self._settings.roles:
                self._bind(session, user, claims)
            if not rights_of(session, user.name).grants:
                raise _failed(f"no group of {user.name!r} has a role here; see `roles` in [oidc]")
            return self._sessions.begin(session, user.name, "provider")

    def _first_time(self, session: Session, subject: str, claims: Mapping[str, Any]) -> User:
        """A new user; or one that an admin has made without a password, for this very purpose."""
        name = _UNFIT.sub("-", str(claims.get(self._settings.name_claim) or claims["sub"]).partition("@")[0])
        name = name.strip("-._")[:64]
        if not is_name(name):
            raise _failed(f"the claim {self._settings.name_claim!r} gives no name")
        at = self._clock.wall()
        user = session.get(User, name)
        if user is None:
            user = User(
                name=name,
                full_name=str(claims.get("name", ""))[:128],
                disabled=False,
                created_at=at,
                created_by="provider",
            )
            session.add(user)
        elif user.subject is not None or user.password_hash is not None:
            raise _failed(f"the name {name!r} belongs to another user here; an admin can rename or remove it")
        user.subject = subject
        session.flush()
        audit.record(session, at, f"user:{name}", "user.link", name, provider=subject)
        return user

    def _bind(self, session: Session, user: User, claims: Mapping[str, Any]) -> None:
        groups = claims.get(self._settings.groups_claim, [])
        member = {"*", *map(str, groups if isinstance(groups, list) else [groups])}
        rights = read_rights([(r.role, r.selector) for r in self._settings.roles if r.group in member])
        before = rights_of(session, user.name)
        if rights != before:
            bind(session, user.name, rights)
            session.flush()
            at, words = self._clock.wall(), [str(grant) for grant in rights.grants]
            audit.record(session, at, f"user:{user.name}", "user.bind", user.name, roles=words)


def check(settings: config.Provider) -> None:
    """Complain at the start, not at the first sign-in.

    :raises Misconfigured: something is missing or cannot be read
    """
    if not settings.issuer:
        return
    missing = [name for name in ("client_id", "redirect_url") if not getattr(settings, name)]
    if missing:
        raise Misconfigured(Reason.CONFIG_INVALID, f"[oidc] lacks {', '.join(missing)}")
    if urlsplit(settings.issuer).scheme not in _schemes(settings.issuer):
        raise Misconfigured(Reason.CONFIG_INVALID, f"[oidc] issuer {settings.issuer!r} must be https://…")
    read_rights([(role.role, role.selector) for role in settings.roles], "oidc.roles")


def _schemes(issuer: str) -> tuple[str, ...]:
    """HTTPS; HTTP too for a provider on this machine itself."""
    local = urlsplit(issuer).hostname in ("127.0.0.1", "::1", "localhost")
    return ("https", "http") if local else ("https",)


def _failed(how: str) -> NotAllowed:
    return NotAllowed(Reason.PROVIDER_FAILED, how)
