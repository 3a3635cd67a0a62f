"""A sink into a bucket of S3."""

from __future__ import annotations

import json

from runtime.sinks.s3 import Bucket, S3Sender, Upload
from runtime.sinks.sender import Sender
from runtime.workflow.blocks.records import Record, Told
from runtime.workflow.fields import INTEGER, STRING, Choice, Field, Number, Text, kinds, need, option
from runtime.workflow.sinkblock import STATUS, secret
from wire.secret import Secret

MEDIA_TYPES = {
    "csv": "text/csv",
    "json": "application/json",
    "jsonl": "application/x-ndjson",
    "txt": "text/plain",
}


class S3Sink(Record):
    """`endpoint_url`: a store other than AWS that speaks S3."""

    types = ("roboflow_core/s3_sink@v1",)
    title = "S3"
    library = "obstore"
    outputs = STATUS
    fields = (
        Field("content", kinds(STRING)),
        option("file_type", Choice(("csv", "json", "txt")), "csv"),
        Field("output_mode", literal=Choice(("append_log", "separate_files"))),
        need("bucket_name", Text(256), STRING),
        option("s3_prefix", Text(512), "", STRING),
        option("file_name_prefix", Text(256), "workflow_output", STRING),
        option("max_entries_per_file", Number(1, integer=True), 1024, STRING, INTEGER),
        secret("aws_access_key_id"),
        secret("aws_secret_access_key"),
        option("aws_region", Text(64), None, STRING),
        option("endpoint_url", Text(1024), None, STRING),
    )

    def sender(self) -> Sender:
        return S3Sender()

    def run(
        self,
        content: str,
        file_type: str,
        output_mode: str,
        bucket_name: str,
        s3_prefix: str,
        file_name_prefix: str,
        max_entries_per_file: int,
        aws_access_key_id: Secret | str | None,
        aws_secret_access_key: Secret | str | None,
        aws_region: str | None,
        endpoint_url: str | None,
    ) -> Told:
        if why := self.kept_back(content):
            return True, why
        key_id, key = self.secret(aws_access_key_id), self.secret(aws_secret_access_key)
        if not key_id or not key:
            return True, "aws_access_key_id and aws_secret_access_key must both be given"
        append = output_mode == "append_log"
        suffix, header = file_type, ""
        if append and file_type == "json":
            suffix = "jsonl"
            try:
                content = json.dumps(json.loads(content))
            except (ValueError, RecursionError):
                return True, "Invalid JSON content"
        elif append and file_type == "csv":
            header, _, content = content.partition("\n")
            header += "\n"
        if append and not content.endswith("\n"):
            content += "\n"
        vault, data, name = self.around.desk.vault, content.encode(), file_name_prefix.rstrip("/")
        body = Upload(
            lambda: Bucket(
                bucket_name, vault.open(key_id), vault.open(key), aws_region or "", endpoint_url or ""
            ),
            f"{s3_prefix.rstrip('/')}/{name}" if s3_prefix else name,
            suffix,
            data,
            MEDIA_TYPES[suffix],
            self.around.clock_wall(),
            append,
            header.encode(),
            int(max_entries_per_file),
        )
        error, message, _ = self.deliver(body, len(data))
        return error, message


BLOCKS = (S3Sink,)
