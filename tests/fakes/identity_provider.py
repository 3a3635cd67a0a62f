"""A small OpenID Connect provider on the loopback address: authorization code with PKCE, RS256, one client. Everybody consents."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import secrets
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import RSAKey

from fleet.ports import free_port

CLIENT = ("outrider", "secret-of-the-client")


class IdentityProvider:
    """`person`: the claims of who signs in. `spoil`: claims that are false in the next tokens. `redirect_uri`: the only one allowed."""

    def __init__(self) -> None:
        self.key = RSAKey.generate_key(2048, {"kid": "one"}, private=True)
        self.signing_key = self.key
        self.person: dict[str, Any] = {"sub": "1"}
        self.spoil: dict[str, Any] = {}
        self.redirect_uri = ""
        self.codes: dict[str, dict[str, str]] = {}
        self.port = free_port()
        self.issuer = f"http://127.0.0.1:{self.port}"

    @contextlib.contextmanager
    def serving(self) -> Iterator[IdentityProvider]:
        server = ThreadingHTTPServer(("127.0.0.1", self.port), _handler(self))
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), name="identity provider")
        thread.start()
        try:
            yield self
        finally:
            server.shutdown()
            thread.join(10)
            server.server_close()

    def authorize(self, asked: dict[str, str]) -> tuple[int, dict[str, str]]:
        """Where the browser is sent back to; 400 for a request that must not be answered with a redirect."""
        if asked.get("client_id") != CLIENT[0] or asked.get("redirect_uri") != self.redirect_uri:
            return 400, {}
        pkce = asked.get("code_challenge_method") == "S256" and asked.get("code_challenge")
        if asked.get("response_type") != "code" or "openid" not in asked.get("scope", "").split() or not pkce:
            answer = {"error": "invalid_request", "state": asked.get("state", "")}
        else:
            code = secrets.token_urlsafe()
            self.codes[code] = asked
            answer = {"code": code, "state": asked["state"]}
        return 302, {"Location": f"{self.redirect_uri}?{urlencode(answer)}"}

    def token(self, form: dict[str, str], authorization: str) -> tuple[int, dict[str, Any]]:
        basic = "Basic " + base64.b64encode(":".join(CLIENT).encode()).decode()
        if authorization != basic:
            return 401, {"error": "invalid_client"}
        asked = self.codes.pop(form.get("code", ""), None)
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).decode().rstrip("=")
        if (
            asked is None
            or asked["redirect_uri"] != form.get("redirect_uri")
            or asked["code_challenge"] != challenge
        ):
            return 400, {"error": "invalid_grant"}
        at = int(time.time())
        claims = {"iss": self.issuer, "aud": CLIENT[0], "iat": at, "exp": at + 300, "nonce": asked["nonce"]}
        header = {"alg": "RS256", "kid": "one"}
        token = jwt.encode(header, {**claims, **self.person, **self.spoil}, self.signing_key)
        return 200, {"access_token": "unused", "token_type": "Bearer", "id_token": token}

    def description(self) -> dict[str, Any]:
        return {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/keys",
            "token_endpoint_auth_methods_supported": ["client_secret_basic"],
        }


def _handler(provider: IdentityProvider) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_arguments: Any) -> None:
            return

        def do_GET(self) -> None:
            address = urlsplit(self.path)
            if address.path == "/.well-known/openid-configuration":
                self._json(200, provider.description())
            elif address.path == "/keys":
                self._json(200, {"keys": [provider.key.as_dict(private=False)]})
            elif address.path == "/authorize":
                status, headers = provider.authorize(_flat(address.query))
                self._json(status, {}, headers)
            else:
                self._json(404, {})

        def do_POST(self) -> None:
            form = _flat(self.rfile.read(int(self.headers["Content-Length"])).decode())
            self._json(*provider.token(form, self.headers.get("Authorization", "")))

        def _json(self, status: int, body: dict[str, Any], headers: dict[str, str] | None = None) -> None:
            payload = json.dumps(body).encode()
            self.send_response(status)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(payload)))
            self.end_headers()
            self.wfile.write(payload)

    return Handler


def _flat(query: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(query).items()}
