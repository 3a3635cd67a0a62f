"""Objects in a real server of the S3 protocol, and in an HTTP server of the test that checks every signature."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runtime.sinks.desk import Desk
from runtime.sinks.pictures import Pictures
from runtime.sinks.s3 import Bucket, _store
from runtime.sinks.vault import Vault
from tests.fakes.bucket import BucketServer
from tests.integration.sink_rig import PICTURE, executor, outputs, requests, run, tidy, until

__all__ = ["tidy"]


def step(url: str, **more: Any) -> dict[str, Any]:
    return {
        "type": "roboflow_core/s3_sink@v1", "content": "$inputs.value", "output_mode": "append_log",
        "bucket_name": "shop", "s3_prefix": "a/b/", "aws_access_key_id": "AKID",
        "aws_secret_access_key": "secret:s3", "aws_region": "eu-west-1", "endpoint_url": url, **more,
    }  # fmt: skip


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    (tmp_path / "s3").write_text("hidden-key\n")
    (tmp_path / "s3").chmod(0o600)
    return Vault([tmp_path])


def signed(request: tuple[str, str, dict[str, str], bytes], key: str) -> bool:
    """AWS Signature Version 4, calculated from what arrived."""
    import hashlib
    import hmac

    method, path, headers, content = request
    lower = {name.lower(): value for name, value in headers.items()}
    fields = dict(part.strip().split("=", 1) for part in lower["authorization"].split(" ", 1)[1].split(","))
    names, scope = fields["SignedHeaders"].split(";"), fields["Credential"].split("/", 1)[1]
    digest = lower["x-amz-content-sha256"]
    if digest != "UNSIGNED-PAYLOAD" and digest != hashlib.sha256(content).hexdigest():
        return False
    lines = "".join(f"{name}:{lower[name].strip()}\n" for name in names)
    canonical = f"{method}\n{path}\n\n{lines}\n{';'.join(names)}\n{digest}"
    text = (
        f"AWS4-HMAC-SHA256\n{lower['x-amz-date']}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    )
    made = f"AWS4{key}".encode()
    for part in scope.split("/"):
        made = hmac.new(made, part.encode(), "sha256").digest()
    return hmac.compare_digest(hmac.new(made, text.encode(), "sha256").hexdigest(), fields["Signature"])


def test_a_log_is_signed_uploaded_whole_and_rotated(vault: Vault) -> None:
    with requests() as server:
        work = executor(step(server.url, max_entries_per_file=2), Desk(vault=vault))
        for n in range(3):
            assert not outputs(work.run({"image": PICTURE, "value": f"n\n{n}"}))["error_status"]
        until(lambda: len(server.got) == 3)
        assert [got[3] for got in server.got] == [b"n\n0\n", b"n\n0\n1\n", b"n\n2\n"]
        assert server.got[0][1] == server.got[1][1] != server.got[2][1]
        assert server.got[0][1].startswith("/shop/a/b/workflow_output_")
        assert all(signed(got, "hidden-key") for got in server.got)
        assert not signed(server.got[0], "another-key")


def test_a_failed_upload_is_tried_again_and_its_entry_is_there_once(vault: Vault) -> None:
    with requests() as server:
        server.answers = [(503, b""), (200, b"")]
        assert not run(step(server.url), Desk(vault=vault), value="n\n7")["error_status"]
        until(lambda: len(server.got) == 2)
        assert [got[3] for got in server.got] == [b"n\n7\n"] * 2


def test_refused_keys_are_not_tried_again_nor_shown(vault: Vault) -> None:
    with requests() as server:
        server.answers = [(403, b"<Error><Code>AccessDenied</Code></Error>")]
        desk = Desk(vault=vault)
        run(step(server.url), desk, value="n\n7")
        until(lambda: desk.figures()["sink"].dead == 1)
        assert "refuses" in desk.figures()["sink"].error
        assert "hidden-key" not in desk.figures()["sink"].error


def test_what_the_environment_says_of_aws_does_not_count(
    vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    with requests() as server, requests() as other:
        for name, value in {
            "AWS_ENDPOINT_URL": other.url, "AWS_ENDPOINT": other.url, "AWS_ALLOW_HTTP": "true", "AWS_SKIP_SIGNATURE": "true",
            "AWS_SESSION_TOKEN": "token-of-another", "AWS_ACCESS_KEY_ID": "ANOTHER", "AWS_SECRET_ACCESS_KEY": "another",
            "AWS_VIRTUAL_HOSTED_STYLE_REQUEST": "true", "AWS_UNSIGNED_PAYLOAD": "true", "AWS_REGION": "ap-south-1",
        }.items():  # fmt: skip
            monkeypatch.setenv(name, value)
        assert not run(step(server.url), Desk(vault=vault), value="n\n7")["error_status"]
        until(lambda: len(server.got) == 1)
        assert signed(server.got[0], "hidden-key")
        assert "Credential=AKID/" in server.got[0][2]["authorization"]
        assert not [name for name in server.got[0][2] if "token" in name.lower()]
        assert other.got == []
        aws = _store(Bucket("shop", "AKID", "key", "eu-west-1"))
        assert aws.config["endpoint"] == "https://s3.eu-west-1.amazonaws.com"


@pytest.fixture(scope="module")
def store() -> Iterator[BucketServer]:
    server = BucketServer()
    server.start()
    yield server
    server.stop()


def test_a_real_store_holds_the_log_and_each_file(store: BucketServer, vault: Vault) -> None:
    store.make("shop")
    work = executor(step(store.url, max_entries_per_file=2, aws_region="us-east-1"), Desk(vault=vault))
    for n in range(3):
        assert not outputs(work.run({"image": PICTURE, "value": f"n\n{n}"}))["error_status"]
    alone = step(
        store.url, output_mode="separate_files", file_type="json", s3_prefix="one", aws_region="us-east-1"
    )
    assert not run(alone, Desk(vault=vault), value='{"n": 1}')["error_status"]
    until(lambda: len(store.keys("shop")) == 3, 30)
    first, second, single = sorted(store.keys("shop"))
    assert first.startswith("a/b/workflow_output_")
    until(lambda: store.get("shop", first)[0] == b"n\n0\n1\n", 30)
    until(lambda: store.get("shop", second)[0] == b"n\n2\n", 30)
    assert store.get("shop", single) == (b'{"n": 1}', "application/json")


def test_a_bucket_that_a_real_store_does_not_have_is_told(store: BucketServer, vault: Vault) -> None:
    desk = Desk(vault=vault)
    run(step(store.url, bucket_name="nowhere", aws_region="us-east-1"), desk, value="n\n7")
    until(lambda: desk.figures()["sink"].dead == 1, 30)
    assert "no such bucket" in desk.figures()["sink"].error


def test_nothing_goes_without_keys_nor_a_picture_the_policy_keeps(vault: Vault) -> None:
    url = "http://127.0.0.1:9"
    assert run(step(url, aws_access_key_id=""), Desk(vault=vault), value="x")["error_status"]
    desk = Desk(vault=vault, pictures=Pictures("device"))
    assert run(step(url), desk, value="/9j/" + "A" * 400)["error_status"]
