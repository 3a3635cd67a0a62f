"""A client of the control plane's HTTP API, as the command line uses it. Every call has a deadline."""

# mypy: disable-error-code="no-any-return"
# What was parsed from JSON has no type until a method says which shape the API gives there.

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import httpx

from fleet import shapes
from fleet.alerts.remote import RemoteAlerts
from fleet.calls import (
    TIMEOUT_S,
    UPLOAD_TIMEOUT_S,
    Access,
    ApiError,
    Calls,
    Progress,
    matching,
    pack,
)
from fleet.errors import Refused
from fleet.events.remote import RemoteEvents
from fleet.health.remote import RemoteFaults
from fleet.rollout.remote import RemoteRollouts
from wire import sealed
from wire.bundle import Bundle
from wire.doc import read
from wire.errors import Refused as WireRefused
from wire.reasons import Reason

__all__ = ["Access", "ApiError", "Client", "Progress", "pack"]


class Client(Calls):
    """Calls the API. A context manager.

    Each method raises `ApiError` where the control plane refuses, `Transient` where it cannot be reached.
    """

    def __init__(self, access: Access, transport: httpx.BaseTransport | None = None) -> None:
        super().__init__(access, transport)
        self.rollouts = RemoteRollouts(self._call, self._all)
        self.fleet_events = RemoteEvents(self._call, self._streamed)
        self.faults = RemoteFaults(self._call, self._all)
        self.alerts = RemoteAlerts(self._call, self._all)

    def __enter__(self) -> Client:
        return self

    def health(self) -> shapes.PlaneHealth:
        return self._call("GET", "/health")

    def overview(self) -> shapes.OverviewView:
        """The fleet at a glance."""
        return self._call("GET", "/overview")

    def create_enrolment_token(self, **wanted: Any) -> shapes.NewEnrolmentTokenView:
        """`device`, `replace`, `labels`, `lifetime_hours`, `uses`; the answer holds `token`."""
        return self._call("POST", "/enrolment-tokens", json=wanted)

    def enrolment_tokens(self) -> list[shapes.EnrolmentTokenView]:
        return self._all("/enrolment-tokens")

    def revoke_enrolment_token(self, token_id: str) -> None:
        self._call("DELETE", f"/enrolment-tokens/{token_id}")

    def create_api_token(
        self, name: str, role: str, selector: str = "", lifetime_days: float | None = None
    ) -> shapes.NewApiTokenView:
        body = {"name": name, "role": role, "selector": selector, "lifetime_days": lifetime_days}
        return self._call("POST", "/tokens", json=body)

    def api_tokens(self) -> list[shapes.ApiTokenView]:
        return self._all("/tokens")

    def revoke_token(self, token_id: str) -> None:
        self._call("DELETE", f"/tokens/{token_id}")

    def devices(self, selector: str = "") -> list[shapes.DeviceView]:
        """Those that match and may be seen, by name."""
        return self._all("/devices", selector=selector)

    def device(self, name: str) -> shapes.DeviceDetail:
        return self._call("GET", f"/devices/{name}")

    def labels(self, device: str) -> tuple[dict[str, str], str]:
        """The labels and their tag."""
        answer = self._answer("GET", f"/devices/{device}/labels")
        return dict(answer.json()["labels"]), answer.headers["etag"]

    def set_labels(self, device: str, labels: dict[str, str], tag: str | None = None) -> dict[str, str]:
        """Other labels instead; with `tag`, only where they are as they were read."""
        path = f"/devices/{device}/labels"
        return dict(self._call("PUT", path, json={"labels": labels}, headers=matching(tag))["labels"])

    def revoke_device(self, name: str) -> None:
        self._call("POST", f"/devices/{name}/revoke")

    def retire_device(self, name: str) -> None:
        self._call("POST", f"/devices/{name}/retire")

    def wipe_device(self, name: str, confirm: str, timeout_s: float = 30.0) -> shapes.CommandAnswer:
        """Have a device remove everything; `confirm` is its name once more."""
        body = {"confirm": confirm, "timeout_s": timeout_s}
        return self._call("POST", f"/devices/{name}/wipe", json=body, timeout=timeout_s + TIMEOUT_S)

    def ask_for_diagnostics(self, device: str, timeout_s: float = 120.0) -> shapes.CommandAnswer:
        """Have a device send a bundle; `result.id` names it."""
        path = f"/devices/{device}/diagnostics"
        return self._call("POST", path, json={"timeout_s": timeout_s}, timeout=timeout_s + TIMEOUT_S)

    def fetch_diagnostics(self, device: str, bundle: str, target: Path) -> int:
        """Write a bundle to a file; its size in bytes."""
        content = self._answer("GET", f"/devices/{device}/diagnostics/{bundle}").content
        target.write_bytes(content)
        return len(content)

    def set_secret(self, device: str, name: str, secret: str) -> None:
        """Seal the secret to the device's key, here, and send it sealed.

        :raises Refused: the device has no sealing key, or the secret is too long
        """
        try:
            key = base64.b64decode(self.device(device).get("sealing_key") or "", validate=True)
            text = sealed.seal(key, device, name, secret)
        except (ValueError, WireRefused) as e:
            raise Refused(
                Reason.SECRET_UNREADABLE, f"nothing can be sealed to {device} ({e}); enrol it again"
            ) from e
        self._call("PUT", f"/devices/{device}/secrets/{name}", json={"sealed": text})

    def remove_secret(self, device: str, name: str) -> None:
        self._call("DELETE", f"/devices/{device}/secrets/{name}")

    def secrets(self, device: str) -> list[shapes.SecretView]:
        return self._all(f"/devices/{device}/secrets")

    def desired(self, device: str) -> shapes.DesiredView:
        return self._call("GET", f"/devices/{device}/desired")

    def revisions(self, device: str, most: int = 20) -> list[shapes.DesiredView]:
        """The newest desired states, newest first."""
        path = f"/devices/{device}/desired/revisions"
        return list(self._call("GET", path, params={"limit": most})["items"])

    def set_desired(self, device: str, document: Any, above: int | None = None) -> shapes.DesiredSet:
        """Make a new revision; with `above`, only where that is still the newest."""
        tag = f'"{above}"' if above is not None else None
        return self._call("PUT", f"/devices/{device}/desired", json=document, headers=matching(tag))

    def events(
        self, device: str, after: int = -1, limit: int = 100, camera: str | None = None
    ) -> tuple[list[shapes.EventView], int]:
        """Events after a cursor and the cursor to go on with; -1 gives the newest."""
        params: dict[str, Any] = {"limit": limit}
        if after >= 0:
            params["cursor"] = str(after)
        if camera is not None:
            params["camera"] = camera
        answer = self._call("GET", f"/devices/{device}/events", params=params)
        return list(answer["items"]), int(answer["next"])

    def clips(self, device: str) -> list[shapes.ClipView]:
        """Films of a device, newest first."""
        return self._all(f"/devices/{device}/clips")

    def clip(self, device: str, clip_id: str) -> bytes:
        """A film."""
        return self._answer("GET", f"/devices/{device}/clips/{clip_id}").content

    def health_history(self, device: str, since: float = 0.0) -> list[shapes.HealthPoint]:
        """Figures of each health message since a time, oldest first."""
        return self._all(f"/devices/{device}/health-history", since=since)

    def command(
        self, device: str, name: str, arguments: dict[str, Any], timeout_s: float = 15.0
    ) -> shapes.CommandAnswer:
        body = {"arguments": arguments, "timeout_s": timeout_s}
        path = f"/devices/{device}/commands/{name}"
        return self._call("POST", path, json=body, timeout=timeout_s + TIMEOUT_S)

    def benchmarks(
        self, device: str | None = None, model: str | None = None, selector: str = ""
    ) -> list[shapes.BenchmarkView]:
        """The newest figures of each device, model and engine."""
        return self._all("/benchmarks", device=device, model=model, selector=selector)

    def trust(self) -> shapes.TrustStatus:
        """Roles with their keys, what waits for signatures, warnings."""
        return self._call("GET", "/trust")

    def trust_pending(self) -> dict[str, Any]:
        """What is to be carried to where the offline keys are."""
        return self._call("GET", "/trust/pending")

    def trust_signed(self, document: Any) -> shapes.TrustInForce:
        """Bring such a document back, signed; `in_force` and `waiting` are roles."""
        return self._call("POST", "/trust/signed", json=document)

    def rotate_keys(
        self, role: str, public: list[str], threshold: int | None = None, keep: bool = False
    ) -> shapes.TrustWaiting:
        body = {"role": role, "public": public, "threshold": threshold, "keep": keep}
        return self._call("POST", "/trust/rotate", json=body)

    def revoke_key(self, key: str) -> shapes.TrustRevoked:
        return self._call("POST", "/trust/revoke", json={"key": key})

    def bundle(self, devices: list[str], revision: int | None = None) -> Bundle:
        """What these devices need where they have no network; `object_bytes` gives its objects."""
        params: dict[str, Any] = {"device": devices, **({"revision": revision} if revision else {})}
        return read(Bundle, self._call("GET", "/bundle", params=params))

    def object_bytes(self, digest: str, start: int = 0) -> Iterator[bytes]:
        """An object's bytes from `start` on, streamed; nothing where it ends there."""
        headers = {"Range": f"bytes={start}-"} if start else {}
        try:
            yield from self._streamed(f"/objects/{digest}", headers=headers)
        except ApiError as e:
            if e.status != 416:
                raise

    def models(self) -> list[shapes.VersionView]:
        return self._all("/models")

    def workflows(self) -> list[shapes.VersionView]:
        return self._all("/workflows")

    def releases(self) -> list[shapes.VersionView]:
        """Of the agent itself."""
        return self._all("/releases")

    def versions(self, kind: str, name: str) -> list[shapes.VersionView]:
        """Versions of a model or workflow, newest first."""
        return self._all(f"/registry/{kind}/{name}/versions")

    def version(self, kind: str, name: str, reference: str) -> shapes.VersionView:
        """One version, by number or alias."""
        return self._call("GET", f"/registry/{kind}/{name}/versions/{reference}")

    def set_notes(
        self, kind: str, name: str, reference: str, description: str, metrics: dict[str, float]
    ) -> shapes.VersionView:
        body = {"description": description, "metrics": metrics}
        return self._call("PUT", f"/registry/{kind}/{name}/versions/{reference}/notes", json=body)

    def users_of(self, kind: str, name: str, reference: str, selector: str = "") -> list[shapes.UseView]:
        """Which devices are told to run a version, run it, or may go back to it."""
        return self._all(f"/registry/{kind}/{name}/versions/{reference}/devices", selector=selector)

    def aliases(self, kind: str, name: str) -> list[shapes.AliasView]:
        return self._all(f"/registry/{kind}/{name}/aliases")

    def set_alias(self, kind: str, name: str, alias: str, version: int) -> shapes.AliasView:
        return self._call("PUT", f"/registry/{kind}/{name}/aliases/{alias}", json={"version": version})

    def remove_alias(self, kind: str, name: str, alias: str) -> None:
        self._call("DELETE", f"/registry/{kind}/{name}/aliases/{alias}")

    def workflow_diff(self, name: str, before: str, after: str) -> shapes.WorkflowDiff:
        params = {"before": before, "after": after}
        return self._call("GET", f"/registry/workflow/{name}/diff", params=params)

    def definition(self, name: str, reference: str) -> dict[str, Any]:
        """A workflow's definition, as it was uploaded."""
        return self._call("GET", f"/registry/workflow/{name}/versions/{reference}/definition")

    def check_workflow(self, content: bytes) -> shapes.WorkflowVerdict:
        """What an upload would say."""
        return self._call("POST", "/workflows/check", content=content, timeout=UPLOAD_TIMEOUT_S)

    def try_workflow(
        self,
        content: bytes,
        media: bytes,
        models: dict[str, str],
        parameters: dict[str, Any],
        frames: int = 200,
    ) -> shapes.TrialView:
        """A definition over a picture or a clip; `models` maps model ids to models of the registry."""
        form = {"definition": content, "models": json.dumps(models), "parameters": json.dumps(parameters)}
        body: Any = {**form, "frames": str(frames)}
        return self._call(
            "POST", "/workflows/try", data=body, files={"media": media}, timeout=UPLOAD_TIMEOUT_S
        )

    def selection(self, selector: str) -> shapes.SelectionView:
        """How many devices a selector matches."""
        return self._call("GET", "/selection", params={"selector": selector})

    def collect(
        self, keep_newest: int, older_than_days: float, plan: str | None = None
    ) -> shapes.CollectionPlan:
        """What nothing needs; with the `plan` of such an answer, its removal."""
        body = {"keep_newest": keep_newest, "older_than_days": older_than_days, "plan": plan}
        return self._call("POST", "/registry/collection", json=body, timeout=UPLOAD_TIMEOUT_S)

    def users(self) -> list[shapes.UserView]:
        return self._all("/users")

    def user(self, name: str) -> tuple[shapes.UserView, str]:
        """A user and the tag of what an admin edits."""
        answer = self._answer("GET", f"/users/{name}")
        return answer.json(), answer.headers["etag"]

    def create_user(self, name: str, **wanted: Any) -> shapes.UserView:
        """`full_name`, `bindings` (role, selector), `password`."""
        return self._call("POST", "/users", json={"name": name, **wanted})

    def change_user(self, name: str, tag: str | None = None, **change: Any) -> shapes.UserView:
        """`full_name`, `bindings`, `password`, `disabled`; with `tag`, only where it is as it was read."""
        return self._call("PATCH", f"/users/{name}", json=change, headers=matching(tag))

    def remove_user(self, name: str) -> None:
        self._call("DELETE", f"/users/{name}")

    def session(self) -> shapes.SessionView:
        """Who this client is, and what it may do."""
        return self._call("GET", "/session")

    def audit(self, **filters: Any) -> Iterator[shapes.AuditView]:
        """Rows of the audit log in their order; `actor`, `action` (`*` at its end), `subject`."""
        return self._each("/audit", **filters)

    def audit_head(self) -> shapes.AuditHeadView:
        return self._call("GET", "/audit/head")

    def upload_model(
        self, path: Path, name: str | None = None, progress: Progress | None = None, **wishes: str
    ) -> shapes.UploadedVersion:
        """Upload an archive, a package directory, which is packed on the way, or an ONNX file, of which the control plane makes a
        package: `family`, `task`, `labels` say what it does not say itself.

        :raises Refused: the path cannot be read
        """
        if path.suffix == ".onnx":
            name = name or plain_name(path.stem)
        return self._upload_packed("/models", path, name, progress, **wishes)

    def upload_release(
        self, path: Path, name: str | None = None, progress: Progress | None = None
    ) -> shapes.UploadedVersion:
        """Upload a directory of wheels with its `release.json`, or an archive of it.

        :raises Refused: the path cannot be read
        """
        return self._upload_packed("/releases", path, name, progress)

    def _upload_packed(
        self, route: str, path: Path, name: str | None, progress: Progress | None, **wishes: str
    ) -> shapes.UploadedVersion:
        try:
            if path.is_dir():
                with TemporaryFile() as packed:
                    pack(path, packed)
                    return self._upload(route, packed, name, progress, **wishes)
            with path.open("rb") as file:
                return self._upload(route, file, name, progress, **wishes)
        except OSError as e:
            raise Refused(Reason.PACKAGE_INVALID, f"{path} cannot be read: {e.strerror or e}") from e

    def upload_workflow(self, path: Path, name: str | None = None) -> shapes.UploadedVersion:
        """:raises Refused: the path cannot be read"""
        try:
            content = path.read_bytes()
        except OSError as e:
            raise Refused(Reason.WORKFLOW_INVALID, f"{path} cannot be read: {e.strerror or e}") from e
        params = {"name": name or path.stem}
        return self._call("POST", "/workflows", content=content, params=params, timeout=UPLOAD_TIMEOUT_S)


def plain_name(stem: str) -> str:
    """A file's name as the registry takes it."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", stem).lstrip("._-")[:64] or "model"
