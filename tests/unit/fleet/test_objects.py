"""Stores by URL: what each kind is opened with, where secrets come from, and addresses, which are signed without a network."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from fleet.config import Config, DataDir, ObjectStore
from fleet.errors import Misconfigured
from fleet.objects import open_objects

DIGEST = "sha256:" + "ab" * 32
KEY = "/sha256/ab/" + "ab" * 32


def address(config: ObjectStore, folder: Path, environment: dict[str, str] | None = None) -> str | None:
    return asyncio.run(open_objects(config, folder, environment or {}).address(DIGEST))


def test_directory_has_no_addresses(tmp_path: Path) -> None:
    assert address(ObjectStore(), tmp_path) is None


def test_address_of_s3_is_signed_for_the_endpoint_devices_reach(tmp_path: Path) -> None:
    config = ObjectStore(
        url="s3://models/a/b", endpoint="http://minio:9000", device_endpoint="https://s3.example.org",
        region="eu-west-1", access_key="AKID", secret_key="env:KEY", presigned_s=60,
    )  # fmt: skip
    made = address(config, tmp_path, {"KEY": "hidden-key"})
    assert made is not None
    assert made.startswith(f"https://s3.example.org/models/a/b{KEY}?")
    assert "X-Amz-Expires=60" in made
    assert "X-Amz-Credential=AKID%2F" in made
    assert "hidden-key" not in made + repr(config)
    assert address(config.model_copy(update={"presigned": False}), tmp_path, {"KEY": "hidden-key"}) is None


def test_address_of_azure_is_signed_with_the_account_key(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("aGlkZGVuIGtleQ==\n")
    config = ObjectStore(url="az://account/container/prefix", secret_key=f"file:{tmp_path / 'key'}")
    made = address(config, tmp_path)
    assert made is not None
    assert made.startswith(f"https://account.blob.core.windows.net/container/prefix{KEY}?")
    assert "sig=" in made


def test_address_of_gcs_is_signed_with_the_service_account(tmp_path: Path) -> None:
    key = rsa.generate_private_key(65537, 2048)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    account = {"private_key": pem, "private_key_id": "1", "client_email": "a@b.example"}
    (tmp_path / "account.json").write_text(json.dumps({**account, "type": "service_account"}))
    config = ObjectStore(url="gs://bucket/prefix", credentials=str(tmp_path / "account.json"))
    made = address(config, tmp_path)
    assert made is not None
    assert made.startswith(f"https://storage.googleapis.com/bucket/prefix{KEY}?")
    assert "X-Goog-Signature=" in made


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"url": "ftp://host/path"}, "of no known kind"),
        ({"url": "s3:///path"}, "names no bucket"),
        ({"url": "s3://b", "secret_key": "env:ABSENT"}, "ABSENT is not set"),
        ({"url": "s3://b", "secret_key": "file:/absent"}, "cannot be read"),
    ],
)
def test_store_that_cannot_be_used_is_told_at_the_start(
    fields: dict[str, str], message: str, tmp_path: Path
) -> None:
    with pytest.raises(Misconfigured, match=message):
        open_objects(ObjectStore(**fields), tmp_path, {})


def test_database_url_gets_its_driver_and_its_password(tmp_path: Path) -> None:
    data = DataDir(tmp_path)
    assert data.database_url(Config()) == f"sqlite:///{tmp_path / 'fleet.db'}"
    config = Config(database="postgresql://me@db/fleet", database_password="env:PG")
    assert data.database_url(config, {"PG": "a/b"}) == "postgresql+psycopg://me:a%2Fb@db/fleet"
    with pytest.raises(Misconfigured, match="no URL"):
        data.database_url(Config(database="nonsense"))
