"""`outrider fleet …`: make, run and use a control plane."""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import logging
import os
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from fleet.client import Access, Client
    from fleet.config import DataDir, Http

URL_VARIABLE = "OUTRIDER_FLEET_URL"
TOKEN_VARIABLE = "OUTRIDER_FLEET_TOKEN"
AUTHORITY_VARIABLE = "OUTRIDER_FLEET_AUTHORITY"
FOLLOW_S = 1.0
OUTPUT_CHARACTERS = 80
"""One output of an event in the list of events; --json shows all of it."""
STANDARD_NAMES = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the commands."""
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _configure_server(commands)
    token = _group(commands, "token", "tokens of devices, people and programs")
    create = _remote(token, "create", "a one-time enrolment token; with --role, an API token", _token_create)
    create.add_argument("--device", help="bind the token to this name")
    create.add_argument(
        "--replace", action="store_true", help="let the enrolled device of that name be replaced"
    )
    create.add_argument("--label", action="append", default=[], metavar="KEY=VALUE")
    create.add_argument("--hours", type=float, help="how long the token is good")
    create.add_argument("--role", choices=("viewer", "operator", "approver", "admin"))
    create.add_argument("--name", default="token", help="whose API token it is (with --role)")
    _remote(token, "list", "enrolment tokens", _token_list)
    _configure_devices(commands)
    model = _group(commands, "model", "models of the registry")
    upload = _remote(model, "upload", "check and store a model package", _model_upload)
    upload.add_argument("path", type=Path, help="a package directory or its .tar.zst, .tar or .zip")
    upload.add_argument("--name", help="the name in the registry; the package's own by default")
    _remote(model, "list", "models and their versions", _model_list)
    workflow = _group(commands, "workflow", "workflows of the registry")
    upload = _remote(workflow, "upload", "check and store a workflow definition", _workflow_upload)
    upload.add_argument("path", type=Path)
    upload.add_argument("--name", help="the name in the registry; the file's by default")
    _remote(workflow, "list", "workflows and their versions", _workflow_list)
    _configure_bench(commands)


def _configure_bench(commands: Commands) -> None:
    from outrider.commands import fleet_bench

    bench = _remote(
        commands, "bench", "what models cost on the fleet's machines, as one table", fleet_bench.table
    )
    fleet_bench.configure_table(bench)
    actions = bench.add_subparsers(dest="bench_command", metavar="run")
    fleet_bench.configure_run(_remote(actions, "run", "have a device measure a model of it", fleet_bench.run))


def _configure_server(commands: Commands) -> None:
    init = commands.add_parser("init", help="make a control plane's data directory")
    init.add_argument("dir", type=Path)
    init.add_argument("--fleet", default="default", help="the fleet's name, part of every topic")
    init.add_argument("--port", type=int, default=8080, help="where the API will listen")
    init.add_argument("--broker-port", type=int, help="8883, or 1883 with --no-tls")
    init.add_argument(
        "--name", action="append", default=[], help="a host name or address devices use; may be repeated"
    )
    init.add_argument(
        "--no-tls",
        action="store_true",
        help="passwords instead of certificates, and HTTP: for a trusted network",
    )
    init.add_argument(
        "--renew-authority",
        type=Path,
        metavar="ROOT_KEY",
        help="sign the issuing authority anew with the root's key",
    )
    init.add_argument("--host", default="127.0.0.1", help="the address to listen on, 0.0.0.0 for all")
    init.add_argument(
        "--migrate", action="store_true", help="bring an existing directory's database up to date"
    )
    init.add_argument(
        "--no-user-config", action="store_true", help="do not write ~/.config/outrider/fleet.toml"
    )
    init.set_defaults(action=_init)
    serve = commands.add_parser("serve", help="run a control plane with its broker")
    serve.add_argument("dir", type=Path)
    serve.add_argument("--host", help="the address the API listens on")
    serve.add_argument("--port", type=int, help="the API's port; 0 takes a free one")
    serve.add_argument("--broker-port", type=int, help="the broker's port; 0 takes a free one and keeps it")
    serve.add_argument("--verbose", action="store_true")
    serve.set_defaults(action=_serve)


def _configure_devices(commands: Commands) -> None:
    device = _group(commands, "device", "devices: what they are and what they should do")
    _remote(device, "list", "every device", _device_list)
    _remote(device, "show", "one device", _device_show).add_argument("device")
    revoke = _remote(device, "revoke", "end the identity of a device that was lost or stolen", _device_revoke)
    revoke.add_argument("device")
    secret = _group(device, "secret", "passwords that only the device can read")
    put = _remote(secret, "set", "seal a secret to a device; its text comes from standard input", _secret_set)
    put.add_argument("device")
    put.add_argument("name", help="cameras name it: rtsp://admin:secret:NAME@10.0.0.7/main")
    _remote(secret, "list", "names of secrets", _secret_list).add_argument("device")
    remove = _remote(secret, "remove", "forget a secret", _secret_remove)
    remove.add_argument("device")
    remove.add_argument("name")
    desired = _group(device, "desired", "the desired state of a device")
    _remote(desired, "get", "the newest desired state", _desired_get).add_argument("device")
    put = _remote(desired, "set", "make a new revision", _desired_set)
    put.add_argument("device")
    put.add_argument("file", help="a JSON document; - reads it from standard input")
    put.add_argument("--if-revision", type=int, help="only where this is still the newest revision")
    events = _remote(device, "events", "what a device has seen", _device_events)
    events.add_argument("device")
    events.add_argument(
        "--after", type=int, default=-1, help="a cursor; by default the newest events are shown"
    )
    events.add_argument("--limit", type=int, default=20)
    events.add_argument("--camera")
    events.add_argument("--follow", action="store_true", help="go on until Ctrl-C")
    command = _remote(device, "command", "send a command and wait for the answer", _device_command)
    command.add_argument("device")
    command.add_argument("name")
    command.add_argument("argument", nargs="*", metavar="KEY=VALUE", help="VALUE is JSON or text")
    command.add_argument("--timeout", type=float, default=15.0, dest="timeout_s", help="seconds")


def _group(commands: Commands, name: str, text: str) -> Commands:
    group = commands.add_parser(name, help=text)
    return group.add_subparsers(dest=f"{name}_command", required=True, metavar="COMMAND")


def _remote(commands: Commands, name: str, text: str, action: Any) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=text, description=text)
    parser.add_argument("--url", help=f"the control plane; also {URL_VARIABLE}")
    parser.add_argument("--token", help=f"the API token; also {TOKEN_VARIABLE}")
    parser.add_argument(
        "--authority", help=f"a PEM file to trust instead of the system's; also {AUTHORITY_VARIABLE}"
    )
    parser.add_argument("--json", action="store_true", help="JSON instead of tables")
    parser.set_defaults(action=_with_client, remote=action)
    return parser


def run(args: argparse.Namespace) -> int:
    """Run a command; 1 for a failure, which is explained with every located problem."""
    from fleet.errors import FleetError

    try:
        return int(args.action(args) or 0)
    except FleetError as e:
        print(f"outrider fleet: {e}", file=sys.stderr)
        for problem in e.problems:
            print(f"  {problem}", file=sys.stderr)
        print(f"  [{e.reason.value}] {e.reason.text}", file=sys.stderr)
    except KeyboardInterrupt:
        return 130
    return 1


def _init(args: argparse.Namespace) -> int:
    from fleet import authority
    from fleet.clock import RandomIds, SystemClock
    from fleet.config import Broker, Config, DataDir, Http
    from fleet.setup import init

    secure = not args.no_tls
    port = args.broker_port if args.broker_port is not None else 8883 if secure else 1883
    config = Config(
        fleet=args.fleet,
        http=Http(host=args.host, port=args.port, tls="own" if secure else "off", names=args.name),
        broker=Broker(host=args.host, port=port, tls=secure),
    )
    made = init(args.dir, config, SystemClock(), RandomIds())
    data = DataDir(args.dir)
    if args.renew_authority is not None:
        authority.renew(data.authority, args.renew_authority, made.config.fleet, SystemClock())
        print(f"{data.authority / 'issuing.pem'} is signed anew; restart the control plane")
    if not made.admin_token:
        print(f"{data.root} was there already; its database is up to date")
        return 0
    print(f"control plane of fleet {made.config.fleet} made in {data.root}")
    print(f"admin token, shown once and kept in {data.admin_token}: {made.admin_token}")
    if not args.no_user_config:
        print(f"this user's commands use it: {_save_access(data, made.config.http, made.admin_token)}")
    print(f"back up {data.root / 'keys'}: devices trust nothing that other keys have signed")
    print(
        f"take offline: move {data.root_key} to a medium that is kept in a safe. Devices trust what it signs; it is needed\n"
        f"  only every five years: outrider fleet init {data.root} --renew-authority {data.root_key.name}"
    )
    return 0


def _serve(args: argparse.Namespace) -> int:
    from fleet.server import configured, serve

    _log_to_stderr(logging.INFO if args.verbose else logging.WARNING)
    data, config = configured(args.dir, None, args.broker_port)
    port = config.http.port if args.port is None else args.port
    http = config.http.model_copy(update={"host": args.host or config.http.host, "port": port})
    asyncio.run(serve(data, config.model_copy(update={"http": http})))
    return 0


class _Line(logging.Formatter):
    """One event a line, its fields behind the message."""

    def format(self, record: logging.LogRecord) -> str:
        fields = {k: v for k, v in vars(record).items() if k not in STANDARD_NAMES}
        return super().format(record) + "".join(f" {name}={value}" for name, value in fields.items())


def _log_to_stderr(level: int) -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(_Line("%(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=level, handlers=[handler])


def _with_client(args: argparse.Namespace) -> int:
    from fleet.client import Client

    with Client(_access(args)) as client:
        return int(args.remote(args, client) or 0)


def _user_config() -> Path:
    base = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(base) / "outrider" / "fleet.toml"


def _save_access(data: DataDir, http: Http, token: str) -> Path:
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


def _token_create(args: argparse.Namespace, client: Client) -> int:
    if args.role:
        answer = client.create_api_token(args.name, args.role)
    else:
        labels = dict(_pair(text) for text in args.label)
        answer = client.create_enrolment_token(
            device=args.device, replace=args.replace, labels=labels, lifetime_hours=args.hours
        )
    print(json.dumps(answer, indent=2) if args.json else answer["token"])
    return 0


def _token_list(args: argparse.Namespace, client: Client) -> int:
    rows = client.enrolment_tokens()
    columns = {"id": "ID", "device": "DEVICE", "expires_at": "EXPIRES", "used_at": "USED", "used_by": "BY"}
    return _show(args, rows, [_dated(row, "expires_at", "used_at") for row in rows], columns)


def _device_list(args: argparse.Namespace, client: Client) -> int:
    rows = client.devices()
    columns = {
        "id": "DEVICE",
        "presence": "PRESENCE",
        "revision": "REVISION",
        "phase": "PHASE",
        "reason": "REASON",
        "agent_version": "AGENT",
        "last_seen_at": "LAST SEEN",
    }
    return _show(args, rows, [_dated(row, "last_seen_at") for row in rows], columns)


def _device_show(args: argparse.Namespace, client: Client) -> int:
    device = client.device(args.device)
    if args.json:
        return _print_json(device)
    reported, health = device["reported"] or {}, device["health"] or {}
    seen = _dated(device, "last_seen_at")["last_seen_at"]
    print(f"{device['id']}: {device['presence']}, last seen {seen}, agent {device['agent_version'] or '?'}")
    print(
        f"revision {reported.get('revision', 0)}, offered {reported.get('offered', 0)}, {reported.get('phase')}"
    )
    if reported.get("reason"):
        print(f"  {reported['reason']}: {reported.get('message')}")
    for problem in reported.get("problems", []):
        print(f"  {problem.get('path')}: {problem.get('message')}")
    for kind in ("cameras", "models", "workflows", "pipelines"):
        for name, state in reported.get(kind, {}).items():
            why = (
                f" ({': '.join(filter(None, (state['reason'], state.get('message'))))})"
                if state.get("reason")
                else ""
            )
            print(f"  {kind[:-1]:9}{name:20} {state.get('state')}{why}")
    for name, camera in health.get("cameras", {}).items():
        blind = sum(camera.get("blind_s", {}).values())
        print(
            f"  {name}: {camera.get('fps', 0):.1f} fps, {camera.get('results')} results, blind {blind:.1f} s"
        )
    return 0


def _device_revoke(args: argparse.Namespace, client: Client) -> int:
    client.revoke_device(args.device)
    print(
        f"{args.device}: revoked; enrol it again with `outrider fleet token create --device {args.device} --replace`"
    )
    return 0


def _secret_set(args: argparse.Namespace, client: Client) -> int:
    import getpass

    asked = sys.stdin.isatty()
    text = getpass.getpass(f"{args.name}: ") if asked else sys.stdin.read().rstrip("\r\n")
    client.set_secret(args.device, args.name, text)
    return 0


def _secret_list(args: argparse.Namespace, client: Client) -> int:
    rows = client.secrets(args.device)
    columns = {"name": "NAME", "set_at": "SET", "set_by": "BY"}
    return _show(args, rows, [_dated(row, "set_at") for row in rows], columns)


def _secret_remove(args: argparse.Namespace, client: Client) -> int:
    client.remove_secret(args.device, args.name)
    return 0


def _desired_get(args: argparse.Namespace, client: Client) -> int:
    return _print_json(client.desired(args.device))


def _desired_set(args: argparse.Namespace, client: Client) -> int:
    from fleet.errors import Refused
    from wire.reasons import Reason

    try:
        text = sys.stdin.read() if args.file == "-" else Path(args.file).read_text()
        document = json.loads(text)
    except (OSError, ValueError) as e:
        raise Refused(Reason.MALFORMED, f"{args.file} is no readable JSON document: {e}") from e
    answer = client.set_desired(args.device, document, args.if_revision)
    if args.json:
        return _print_json(answer)
    how = "published" if answer["published"] else "stored; it is published when the broker is back"
    print(f"{args.device}: revision {answer['revision']} {how}")
    return 0


def _device_events(args: argparse.Namespace, client: Client) -> int:
    after = args.after
    while True:
        events, after = client.events(args.device, after, args.limit, args.camera)
        for event in events:
            print(json.dumps(event) if args.json else _event_line(event), flush=True)
        if not args.follow:
            return 0
        if len(events) < args.limit:
            time.sleep(FOLLOW_S)


def _event_line(event: dict[str, Any]) -> str:
    body = event["data"]
    models = ", ".join(body.get("model_names", {}).values())
    outputs = ", ".join(f"{name} {_brief(value)}" for name, value in body.get("outputs", {}).items())
    at = _dated(event, "at")["at"]
    return f"{event['cursor']} {at} {event['camera']} frame {event['frame_seq']} [{models}] {outputs}"


def _brief(value: Any) -> str:
    """An output in a few words: detections as counts by class, the rest as JSON that is cut short."""
    found = value.get("predictions") if isinstance(value, dict) else None
    if isinstance(found, list) and all(isinstance(item, dict) and "class" in item for item in found):
        counts = Counter(str(item["class"]) for item in found)
        return ", ".join(f"{count} {name}" for name, count in counts.items()) or "none"
    text = json.dumps(value)
    return text if len(text) <= OUTPUT_CHARACTERS else f"{text[:OUTPUT_CHARACTERS]}…"


def _device_command(args: argparse.Namespace, client: Client) -> int:
    arguments = {name: _value(text) for name, text in map(_pair, args.argument)}
    answer = client.command(args.device, args.name, arguments, args.timeout_s)
    _print_json(answer)
    return 0 if answer.get("ok") else 1


def _model_upload(args: argparse.Namespace, client: Client) -> int:
    shown = sys.stderr.isatty() and not args.json
    answer = client.upload_model(args.path, args.name, _progress if shown else None)
    return _uploaded(args, answer)


def _workflow_upload(args: argparse.Namespace, client: Client) -> int:
    return _uploaded(args, client.upload_workflow(args.path, args.name))


def _uploaded(args: argparse.Namespace, answer: dict[str, Any]) -> int:
    if args.json:
        return _print_json(answer)
    print(f"{answer['name']}@{answer['version']} {answer['digest']}")
    return 0


def _progress(sent: int, total: int) -> None:
    done = sent >= total
    bar = "#" * (30 * sent // max(total, 1))
    rest = "checking …\n" if done else ""
    print(
        f"\r[{bar:30}] {sent / 1e6:.1f} of {total / 1e6:.1f} MB {rest}", end="", file=sys.stderr, flush=True
    )


def _model_list(args: argparse.Namespace, client: Client) -> int:
    return _versions(args, client.models())


def _workflow_list(args: argparse.Namespace, client: Client) -> int:
    return _versions(args, client.workflows())


def _versions(args: argparse.Namespace, rows: list[dict[str, Any]]) -> int:
    columns = {"name": "NAME", "version": "VERSION", "digest": "DIGEST", "size": "SIZE", "created_at": "WHEN"}
    shown = [{**_dated(row, "created_at"), "size": f"{row['size_bytes'] / 1e6:.2f} MB"} for row in rows]
    return _show(args, rows, [{**row, "digest": row["digest"][:19]} for row in shown], columns)


def _show(
    args: argparse.Namespace, rows: Sequence[Any], shown: Sequence[dict[str, Any]], columns: dict[str, str]
) -> int:
    from outrider import table

    if args.json:
        return _print_json(rows)
    print("\n".join(table.lines(shown, columns)))
    return 0


def _print_json(value: Any) -> int:
    print(json.dumps(value, indent=2))
    return 0


def _dated(row: dict[str, Any], *names: str) -> dict[str, Any]:
    """The row with these times as text."""
    texts = {
        name: time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(row[name])) if row.get(name) else None
        for name in names
    }
    return {**row, **texts}


def _pair(text: str) -> tuple[str, str]:
    from fleet.errors import Refused
    from wire.reasons import Reason

    name, equals, value = text.partition("=")
    if not equals or not name:
        raise Refused(Reason.INVALID_FIELD, f"{text!r} is not of the form KEY=VALUE")
    return name, value


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
