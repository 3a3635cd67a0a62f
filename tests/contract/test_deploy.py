"""What is under `deploy/`: Kubernetes manifests against its schemas, the compose file and the Dockerfiles against what they name."""

from __future__ import annotations

import json
import re
import sys
from importlib import resources
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from jsonschema import Draft202012Validator

from fleet.config import Config

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
MANIFESTS = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
DOCKERFILES = sorted(DEPLOY.glob("*.Dockerfile"))


def documents(path: Path) -> list[dict[str, Any]]:
    return [document for document in yaml.safe_load_all(path.read_text()) if document]


def manifest(kind: str, name: str) -> dict[str, Any]:
    found = [
        d for path in MANIFESTS for d in documents(path) if (d["kind"], d["metadata"]["name"]) == (kind, name)
    ]
    assert len(found) == 1
    return found[0]


@pytest.mark.parametrize("version", ["1.31", "1.36"])
@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_manifests_are_valid_in_the_strict_schemas_of_kubernetes(path: Path, version: str) -> None:
    for document in documents(path):
        kubernetes_validate.validate(document, version, strict=True)


def test_wrong_manifest_would_be_found() -> None:
    document = manifest("StatefulSet", "control-plane")
    document["spec"]["replikas"] = 2
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(document, "1.31", strict=True)


def test_pods_mount_what_there_is_and_the_configuration_is_one() -> None:
    pod = manifest("StatefulSet", "control-plane")["spec"]["template"]["spec"]
    volumes = {volume["name"] for volume in pod["volumes"]}
    for container in (*pod["containers"], *pod["initContainers"]):
        assert {mount["name"] for mount in container["volumeMounts"]} == volumes
    config = Config.model_validate(tomllib.loads(manifest("ConfigMap", "fleet")["data"]["fleet.toml"]))
    assert config.replica == "env:HOSTNAME"
    assert config.broker.kind == "external"
    folder = next(m["mountPath"] for m in pod["containers"][0]["volumeMounts"] if m["name"] == "secrets")
    for reference in (config.database_password, config.objects.secret_key):
        assert reference.startswith(f"file:{folder}/")


def test_compose_file_is_valid_in_the_published_schema() -> None:
    schema = resources.files("check_jsonschema.builtin_schemas.vendor") / "compose-spec.json"
    validator = Draft202012Validator(json.loads(schema.read_text()))
    composed = documents(DEPLOY / "compose.yaml")[0]
    assert [error.message for error in validator.iter_errors(composed)] == []
    composed["services"]["postgres"]["helthcheck"] = {}
    assert not validator.is_valid(composed), "a misspelt key is found"


def test_compose_file_names_only_what_it_defines() -> None:
    composed = documents(DEPLOY / "compose.yaml")[0]
    services = composed["services"]
    for service in services.values():
        assert ("image" in service) or ("build" in service)
        if "build" in service:
            assert (DEPLOY / service["build"]["context"] / service["build"]["dockerfile"]).is_file()
        assert set(service.get("secrets", [])) <= set(composed["secrets"])
        assert set(service.get("depends_on", [])) <= set(services)
        named = {volume.partition(":")[0] for volume in service.get("volumes", [])}
        assert named <= set(composed["volumes"])


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_dockerfiles_copy_what_is_there_and_install_extras_that_are_there(path: Path) -> None:
    text = path.read_text()
    for line in re.findall(r"^COPY (?!--from)(.+)$", text, re.MULTILINE):
        *sources, _ = line.split()
        assert [source for source in sources if not (ROOT / source).exists()] == []
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    copied = {
        source for line in re.findall(r"^COPY (?!--from)(.+)$", text, re.MULTILINE) for source in line.split()
    }
    assert {*wheel["packages"], *wheel["force-include"]} <= copied, "what the wheel is made of"
    extras = project["project"]["optional-dependencies"]
    for named in re.findall(r"'\.\[([a-z,]+)\]'", text):
        assert set(named.split(",")) <= set(extras)
    assert re.search(r"^USER \d+$", text, re.MULTILINE)
