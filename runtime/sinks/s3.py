"""Objects in a bucket of S3, or of a store that speaks it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from runtime.sinks.sender import Undelivered

MAX_OBJECT_BYTES = 8 * 1024 * 1024
"""A log that is appended to is uploaded whole each time: a new object begins beyond this."""
TIMEOUT_S = 10
DEFAULT_REGION = "us-east-1"


@dataclass(frozen=True)
class Bucket:
    """Where objects go, with opened secrets. `endpoint`: empty for AWS itself."""

    name: str
    key_id: str
    key: str
    region: str = ""
    endpoint: str = ""


@dataclass(frozen=True)
class Upload:
    """`bucket` is called by the worker. `stem`: the key up to its time. `append`: to the open object; else one of its own."""

    bucket: Callable[[], Bucket]
    stem: str
    suffix: str
    content: bytes
    media_type: str
    at_wall: float
    append: bool = False
    header: bytes = b""
    max_entries: int = 1024


class S3Sender:
    """Keeps one store, and what the open object holds; an entry counts once its upload has succeeded."""

    def __init__(self) -> None:
        self._store: Any = None
        self._bucket: Bucket | None = None
        self._open = b""
        self._of: tuple[Bucket, str, str] | None = None
        self._key = ""
        self._entries = 0

    def send(self, body: Upload) -> str:
        """The address of the object."""
        bucket = body.bucket()
        if not bucket.key_id or not bucket.key:
            raise Undelivered("aws_access_key_id and aws_secret_access_key must both be given", again=False)
        if not body.append:
            return self._put(bucket, _key(body), body.content, body.media_type)
        of = (bucket, body.stem, body.suffix)
        full = len(self._open) + len(body.content) > MAX_OBJECT_BYTES or self._entries >= body.max_entries
        fresh = of != self._of or full
        key = _key(body) if fresh else self._key
        whole = (body.header if fresh else self._open) + body.content
        address = self._put(bucket, key, whole, body.media_type)
        self._of, self._key, self._open = of, key, whole
        self._entries = 1 if fresh else self._entries + 1
        return address

    def _put(self, bucket: Bucket, key: str, content: bytes, media_type: str) -> str:
        import obstore
        from obstore import exceptions

        address = f"s3://{bucket.name}/{key}"
        try:
            if self._store is None or bucket != self._bucket:
                self._store, self._bucket = _store(bucket), bucket
            obstore.put(
                self._store, key, content, attributes={"Content-Type": media_type}, use_multipart=False
            )
        except (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError) as e:
            raise Undelivered(f"{address}: the store refuses these keys", again=False) from e
        except FileNotFoundError as e:
            raise Undelivered(f"{address}: there is no such bucket", again=False) from e
        except exceptions.BaseError as e:
            raise Undelivered(f"{address}: {str(e).splitlines()[0][:200]}") from e
        return address

    def close(self) -> None:
        self._store = None


def _store(bucket: Bucket) -> Any:
    """Everything that decides who asks, and where, is said here: what is left out the library takes from AWS_… of the process."""
    from datetime import timedelta

    from obstore.store import S3Store

    region = bucket.region or DEFAULT_REGION
    keys = {"access_key_id": bucket.key_id, "secret_access_key": bucket.key, "expires_at": None}
    limit = timedelta(seconds=TIMEOUT_S)
    return S3Store(
        bucket.name,
        credential_provider=lambda: keys,
        region=region,
        endpoint=bucket.endpoint
        or f"https://s3.{region}.amazonaws.com{'.cn' if region.startswith('cn-') else ''}",
        skip_signature=False,
        virtual_hosted_style_request=False,
        unsigned_payload=False,
        s3_express=False,
        request_payer=False,
        client_options={"allow_http": bucket.endpoint.startswith("http://"), "timeout": limit},
        retry_config={"max_retries": 0, "retry_timeout": limit},
    )


def _key(body: Upload) -> str:
    stamp = datetime.fromtimestamp(body.at_wall).strftime("%Y_%m_%d_%H_%M_%S_%f")
    return f"{body.stem}_{stamp}.{body.suffix}"
