"""How a command finds the control plane and calls it: flags, then the environment, then the file `init` has written."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from fleet.client import Access, Client
    from fleet.config import DataDir, Http

URL_VARIABLE = "OUTRIDER_FLEET_URL"
TOKEN_VARIABLE = "OUTRIDER_FLEET_TOKEN"
AUTHORITY_VARIABLE = "OUTRIDER_FLEET_AUTHORITY"

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
Remote: TypeAlias = "Callable[[argparse.Namespace, Client], int]"


def group(commands: Commands, name: str, text: str) -> Commands:
    """A noun with commands of its own."""
    parser = commands.add_parser(name, help=text)
    return parser.add_subparsers(dest=f"{name}_command", required=True, metavar="COMMAND")


def remote(commands: Commands, name: str, text: str, action: Remote) -> argparse.ArgumentParser:
    """A command that calls the control plane; `action` gets the arguments and a client."""
    parser = commands.add_parser(name, help=text, description=text)
    parser.add_argument("--url", help=f"the control plane; also {URL_VARIABLE}")
    parser.add_argument("--token", help=f"the API token; also {TOKEN_VARIABLE}")
    parser.add_argument(
        "--authority", help=f"a PEM file to trust instead of the system's; also {AUTHORITY_VARIABLE}"
    )
    parser.add_argument("--json", action="store_true", help="JSON instead of tables")
    parser.set_defaults(action=_with_client, remote=action)
    return parser


def save(data: DataDir, http: Http, token: str) -> Path:
    """Let this user's commands find the control plane; the file is readable by its owner only."""
    import tomli_w

    from fleet.files import write_atomic

    path = _user_config()
    path.parent.mkdir(parents=True, exist_ok=True)
    scheme = "http" if http.tls == "off" else "https"
    content = {"url": f"{scheme}://127.0.0.1:{http.port}", "token": token, "data_dir": str(data.root)}
    if http.tls == "own":
        content["authority"] = str(data.root_certificate)
    write_atomic(path, tomli_w.dumps(content).encode(), 0o600)
    return path


def _with_client(args: argparse.Namespace) -> int:
    from fleet.client import Client

    with Client(_access(args)) as client:
        return int(args.remote(args, client) or 0)


def _user_config() -> Path:
    base = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(base) / "outrider" / "fleet.toml"


def _access(args: argparse.Namespace) -> Access:
    """Where and with what: flags, then the environment, then the file `init` has written."""
    from fleet.client import Access
    from fleet.errors import Misconfigured
    from wire.reasons import Reason

    saved = _saved()
    url = args.url or os.environ.get(URL_VARIABLE) or _serving_at(saved) or saved.get("url")
    token = args.token or os.environ.get(TOKEN_VARIABLE) or saved.get("token")
    if not url or not token:
        missing = "URL" if not url else "token"
        raise Misconfigured(
            Reason.CONFIG_INVALID,
            f"no {missing} of a control plane; give --{missing.lower()}, set "
            f"{URL_VARIABLE if not url else TOKEN_VARIABLE}, or run `outrider fleet init DIR`",
        )
    authority = args.authority or os.environ.get(AUTHORITY_VARIABLE) or saved.get("authority") or ""
    return Access(str(url), str(token), str(authority))


def _saved() -> dict[str, Any]:
    toml: Any = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    try:
        return dict(toml.loads(_user_config().read_text()))
    except (OSError, ValueError):
        return {}


def _serving_at(saved: dict[str, Any]) -> str | None:
    """The address a control plane of this machine has chosen for itself."""
    try:
        return str(json.loads((Path(saved["data_dir"]) / "serve.json").read_text())["url"])
    except (KeyError, OSError, ValueError):
        return None
