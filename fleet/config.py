"""The configuration of a control plane: `fleet.toml` in its data directory, and where everything lies in there."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from fleet.errors import Misconfigured
from fleet.files import write_atomic
from fleet.references import resolve
from wire.names import Name
from wire.problem import Problem, expectation, shown
from wire.reasons import Reason

_toml: Any = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")

GIB = 1024**3
MIB = 1024**2


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Http(_Section):
    """Where the API listens. Port 0 takes a free one.

    `tls`: `own` shows a certificate of the fleet's authority, `given` the files `certificate` and `key` (PEM), `off` leaves TLS to
    a reverse proxy. `names` are further host names and addresses for the own certificate.
    """

    host: str = "127.0.0.1"
    port: int = Field(default=8080, ge=0, le=65535)
    tls: Literal["off", "own", "given"] = "off"
    certificate: str = ""
    key: str = ""
    names: list[str] = Field(default_factory=list)


class Broker(_Section):
    """Which broker. `auto` is mosquitto where it is found, else amqtt.

    `host` is where the broker listens (or, for `external`, where it is); `advertise_host` what devices are told, by
    default the host by which they reached the API. Port 0 takes a free one and keeps it. `username` and `password` are
    the control plane's own at an external broker. `tls`: devices show their certificate, at mosquitto on `port`; then
    `password_port` is a second listener for readers and for devices without a certificate, with TLS unless `password_tls` is false,
    and is there only where it is given. `readers` maps names to passwords: each may log in as `_reader.NAME` and
    read everything of the fleet.

    `websocket_port` is a listener for MQTT over WebSocket, in the same way as `port`; `websocket` the URL that devices are told for it,
    by default `wss://HOST:PORT/mqtt`, or ws:// without TLS. Only for `external`: `certificates` where it judges certificates of our
    authority (mutual TLS, the name as user name), `authority` a PEM file to trust instead of ours or the system's, `control_port` where
    control planes log in, if elsewhere than devices.
    """

    kind: Literal["auto", "mosquitto", "amqtt", "external"] = "auto"
    host: str = "127.0.0.1"
    port: int = Field(default=1883, ge=0, le=65535)
    advertise_host: str = ""
    tls: bool = False
    password_port: int | None = Field(default=None, ge=0, le=65535)
    password_tls: bool = True
    websocket_port: int | None = Field(default=None, ge=0, le=65535)
    websocket: str = ""
    certificates: bool = False
    authority: str = ""
    control_port: int | None = Field(default=None, ge=1, le=65535)
    username: str = ""
    password: str = Field(default="", repr=False)
    readers: dict[Name, str] = Field(default_factory=dict, repr=False)


class ObjectStore(_Section):
    """Where artifacts lie: `url` is `s3://BUCKET/PREFIX`, `gs://BUCKET/PREFIX`, `az://ACCOUNT/CONTAINER/PREFIX`, or empty for the data
    directory.

    `secret_key` is S3's secret key or Azure's account key; `credentials` the path of Google's service account file. What is not given
    comes from the environment or the machine's role. `endpoint` is another server that speaks the same protocol. With `presigned` devices
    fetch from the store itself, by addresses good for `presigned_s`, at `device_endpoint` where they reach it by another name.
    """

    url: str = ""
    region: str = ""
    endpoint: str = ""
    device_endpoint: str = ""
    access_key: str = ""
    secret_key: str = Field(default="", repr=False)
    credentials: str = ""
    presigned: bool = True
    presigned_s: float = Field(default=900.0, ge=1, le=604_800)


class Limits(_Section):
    """Bounds of uploads, checks and kept history.

    Health messages are kept for `raw_hours`, then in steps: of a minute for `minutes_hours`, of a quarter of an hour for `history_days`,
    of a day for `daily_days`. Faults and alerts that are over stay for `faults_days`. From `keeper_devices` devices on a process of its own works on
    health and alerts; 0 is always.
    """

    upload_bytes: int = Field(default=2 * GIB, ge=1)
    unpacked_bytes: int = Field(default=4 * GIB, ge=1)
    workflow_bytes: int = Field(default=4 * MIB, ge=1)
    body_bytes: int = Field(default=1 * MIB, ge=1)
    clip_bytes: int = Field(default=32 * MIB, ge=1)
    clips_bytes: int = Field(default=1 * GIB, ge=1)
    picture_bytes: int = Field(default=4 * MIB, ge=1)
    pictures_bytes: int = Field(default=256 * MIB, ge=1)
    pictures_total_bytes: int = Field(default=0, ge=0)
    pictures_days: float = Field(default=30.0, gt=0)
    check_wall_s: float = Field(default=180.0, gt=0)
    check_cpu_s: int = Field(default=240, ge=1)
    check_memory_bytes: int = Field(default=12 * GIB, ge=1)
    checks_at_once: int = Field(default=1, ge=1)
    raw_hours: float = Field(default=3.0, ge=1)
    minutes_hours: float = Field(default=24.0, ge=1)
    history_days: float = Field(default=7.0, ge=1)
    daily_days: float = Field(default=400.0, ge=2)
    faults_days: float = Field(default=90.0, gt=0)
    events_days: float = Field(default=30.0, gt=0)
    diagnostics_days: float = Field(default=7.0, gt=0)
    desired_days: float = Field(default=30.0, gt=0)
    enrolment_token_hours: float = Field(default=24.0, gt=0)
    certificate_days: float = Field(default=90.0, gt=0)
    lease_s: float = Field(default=15.0, ge=1, le=600)
    receive_maximum: int = Field(default=10_000, ge=1, le=65535)
    keeper_devices: int = Field(default=1000, ge=0)


class FaultSettings(_Section):
    """Of one kind of fault: seconds until it is told and until it is over, another severity, or `off`."""

    visible_s: float | None = Field(default=None, ge=0, le=86_400)
    clear_s: float | None = Field(default=None, ge=0, le=86_400)
    severity: Literal["", "critical", "warning", "info"] = ""
    off: bool = False


class Faults(_Section):
    """Faults are looked for every so many seconds, and what models saw every `sights_every_s`, drift at every fourth such look; devices of a site
    have the same value of the label `site_label`. `kinds` changes what is declared of a fault, by its code."""

    site_label: str = Field(default="site", min_length=1, max_length=63)
    every_s: float = Field(default=5.0, ge=0.1, le=60)
    sights_every_s: float = Field(default=900.0, ge=0.1, le=3600)
    kinds: dict[str, FaultSettings] = Field(default_factory=dict)


class Alerts(_Section):
    """`secrets`: what targets may name as `secret:NAME`, each `file:PATH` or `env:NAME`."""

    secrets: dict[Name, str] = Field(default_factory=dict, repr=False)


class TrustDays(_Section):
    """For how many days metadata of the update framework is good. What can be signed here is renewed at half of that."""

    root: float = Field(default=730.0, gt=0)
    targets: float = Field(default=365.0, gt=0)
    artifacts: float = Field(default=365.0, gt=0)
    snapshot: float = Field(default=30.0, gt=0)
    timestamp: float = Field(default=30.0, gt=0)

    def of(self, role: str) -> float:
        """Of a role; delegated ones are artifacts."""
        return float(getattr(self, role, self.artifacts))


class Access(_Section):
    """How long people stay signed in: in all, and without doing anything."""

    session_hours: float = Field(default=12.0, gt=0, le=720)
    session_idle_hours: float = Field(default=2.0, gt=0, le=720)


class ProviderRole(_Section):
    """Members of `group` get `role` on the devices of `selector`; the group `*` is everybody the provider lets in."""

    group: str
    role: Literal["viewer", "operator", "approver", "admin"]
    selector: str = ""


class Provider(_Section):
    """Sign-in by an OpenID Connect provider; none where `issuer` is empty.

    `redirect_url` is the public address of `/api/v1/session/provider/callback`. `groups_claim` names the claim of the ID token that lists
    groups; `roles` says what they may do, anew at each sign-in. `name_claim` becomes the user's name.
    """

    issuer: str = ""
    client_id: str = ""
    client_secret: str = Field(default="", repr=False)
    redirect_url: str = ""
    scopes: list[str] = Field(default_factory=lambda: ["openid", "profile", "email"])
    name_claim: str = "preferred_username"
    groups_claim: str = "groups"
    roles: list[ProviderRole] = Field(default_factory=list)


class Console(_Section):
    """The web console at `/`. Without it the control plane has its API alone."""

    enabled: bool = True


class Metrics(_Section):
    """`/metrics`: `token` wants an API token of a viewer of the whole fleet, `local` nothing from this machine and a token from elsewhere,
    `open` nothing, `off` serves none. `label`: figures of devices are told apart by its value (100 values at most)."""

    access: Literal["token", "local", "open", "off"] = "local"
    label: str = Field(default="site", min_length=1, max_length=63)


class Otel(_Section):
    """Traces of updates to an OpenTelemetry collector (OTLP/HTTP, protobuf), none where `endpoint` (`http://collector:4318`) is empty. Values of
    `headers` may be `file:PATH` or `env:NAME`."""

    endpoint: str = ""
    headers: dict[str, str] = Field(default_factory=dict, repr=False)
    service: str = "outrider"
    timeout_s: float = Field(default=10.0, gt=0, le=300)


class Webhook(_Section):
    """Events of a filter to a receiver, as CloudEvents. `secret` (`file:PATH`, `env:NAME`) signs them; with `batch` above 1 so many come at once. `fields`
    are `PATH=VALUE` of the event's document."""

    name: Name
    url: str = Field(pattern=r"^https?://")
    secret: str = Field(default="", repr=False)
    batch: int = Field(default=1, ge=1, le=100)
    selector: str = ""
    camera: str = ""
    workflow: str = ""
    kind: Literal["result", "sink"] | None = None
    having: list[Literal["picture", "clip"]] = Field(default_factory=list)
    fields: list[str] = Field(default_factory=list, max_length=8)


class ElsewhereBroker(_Section):
    """A broker that is not the fleet's: `mqtt://HOST:PORT` or `mqtts://…`, nothing where `broker` is empty. `password` may be `file:PATH` or
    `env:NAME`. Only devices of `selector` are told of."""

    broker: str = ""
    username: str = ""
    password: str = Field(default="", repr=False)
    authority: str = ""
    client_id: str = ""
    selector: str = ""


class HomeAssistant(ElsewhereBroker):
    """Entities by MQTT discovery below `prefix`; states below `base`. `pictures`: the newest picture that the fleet has of a camera goes there, too."""

    prefix: str = Field(default="homeassistant", pattern=r"^[A-Za-z0-9_./-]+$")
    base: str = Field(default="outrider", pattern=r"^[A-Za-z0-9_./-]+$")
    pictures: bool = False


class Sparkplug(ElsewhereBroker):
    """Sparkplug B: this control plane is the edge node `node` of `group` (empty: the fleet's name), its devices are the devices."""

    group: str = Field(default="", pattern=r"^[^+/#]*$", max_length=64)
    node: str = Field(default="outrider", pattern=r"^[^+/#]+$", max_length=64)


class Config(_Section):
    """Everything in `fleet.toml`. `database` is a URL, empty for SQLite in the data directory.

    `replica` names this process where several share a database and a broker; `env:HOSTNAME` is a pod's name. Without it there is one.
    Passwords and keys (`database_password`, `broker.password`, `objects.secret_key`) may be `file:PATH` or `env:NAME`.
    """

    fleet: Name = "default"
    replica: str = Field(default="", max_length=128)
    database: str = Field(default="", repr=False)
    database_password: str = Field(default="", repr=False)
    objects: ObjectStore = ObjectStore()
    http: Http = Http()
    broker: Broker = Broker()
    limits: Limits = Limits()
    faults: Faults = Faults()
    alerts: Alerts = Alerts()
    trust_days: TrustDays = TrustDays()
    access: Access = Access()
    console: Console = Console()
    oidc: Provider = Provider()
    metrics: Metrics = Metrics()
    otel: Otel = Otel()
    webhooks: list[Webhook] = Field(default_factory=list, max_length=20)
    homeassistant: HomeAssistant = HomeAssistant()
    sparkplug: Sparkplug = Sparkplug()


class DataDir:
    """The paths inside a data directory."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self.config = self.root / "fleet.toml"
        self.database = self.root / "fleet.db"
        self.objects = self.root / "objects"
        self.uploads = self.root / "uploads"
        self.parts = self.root / "parts"
        self.broker = self.root / "broker"
        self.state_key = self.root / "keys" / "state.pem"
        self.trust_keys = self.root / "keys" / "tuf"
        self.offline = self.root / "offline"
        self.authority = self.root / "keys" / "authority"
        self.root_certificate = self.authority / "root.pem"
        self.root_key = self.root / "offline" / "root-key.pem"
        self.server_certificate = self.root / "keys" / "server.pem"
        self.control_certificate = self.root / "keys" / "control.pem"
        self.control_password = self.root / "keys" / "broker-password"
        self.admin_token = self.root / "admin-token"
        self.serve = self.root / "serve.json"
        self.lock = self.root / "serve.lock"

    def database_url(self, config: Config, environment: Mapping[str, str] = os.environ) -> str:
        """The database's URL with the driver and the password in it.

        :raises Misconfigured: no URL, or its password's reference leads nowhere
        """
        if not config.database:
            return f"sqlite:///{self.database}"
        try:
            url = make_url(config.database)
        except ArgumentError as e:
            raise Misconfigured(
                Reason.CONFIG_INVALID, "database is no URL; expected postgresql://USER@HOST/NAME or nothing"
            ) from e
        if url.drivername in ("postgres", "postgresql"):
            url = url.set(drivername="postgresql+psycopg")
        if config.database_password:
            url = url.set(password=resolve(config.database_password, environment, "database_password"))
        return url.render_as_string(hide_password=False)


def load(data: DataDir) -> Config:
    """Read the configuration.

    :raises Misconfigured: there is none, or with every problem of it
    """
    try:
        document: dict[str, Any] = _toml.loads(data.config.read_text())
    except FileNotFoundError as e:
        raise Misconfigured(
            Reason.CONFIG_INVALID,
            f"{data.root} is no control plane: fleet.toml is missing; make one with `outrider fleet init {data.root}`",
        ) from e
    except (ValueError, OSError) as e:
        raise Misconfigured(Reason.CONFIG_INVALID, f"{data.config} cannot be read: {e}") from e
    try:
        return Config.model_validate(document)
    except ValidationError as e:
        problems = [
            Problem(
                ".".join(map(str, error["loc"])),
                Reason.CONFIG_INVALID,
                f"{shown(error['input'])} cannot be used",
                expectation(error["msg"]),
            )
            for error in e.errors(include_url=False)
        ]
        listed = "; ".join(map(str, problems))
        raise Misconfigured(
            Reason.CONFIG_INVALID, f"{data.config} has {len(problems)} problem(s): {listed}", problems
        ) from e


def save(data: DataDir, config: Config) -> None:
    """Write the configuration with every default spelled out, readable by its owner only (it may hold a password)."""
    write_atomic(
        data.config, tomli_w.dumps(config.model_dump(mode="json", exclude_none=True)).encode(), 0o600
    )
