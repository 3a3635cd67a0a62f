"""Values kept between frames, and secrets of the device."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from runtime.workflow.block import Block, StepFailed
from runtime.workflow.fields import ANY, LIST, STRING, Field, ListOf, Text, gives, image, kinds, need
from runtime.workflow.values import ImageValue

MAX_ENTRIES = 1024
KEY = Text(256)
PREFIX = "OUTRIDER_SECRET_"
"""Only environment variables of this prefix can be read by a workflow; a definition names them without it or with it."""


class CacheSet(Block):
    """Keeps a value of a video under a key, for the `cache_get` steps of the same workflow. The oldest of 1,024 is forgotten."""

    types = ("roboflow_core/cache_set@v1",)
    title = "Cache set"
    fields = (image(), need("key", KEY, STRING), Field("value", kinds(ANY, LIST)))
    outputs = gives(output=kinds(ANY))

    def run(self, image: ImageValue, key: str, value: Any) -> Any:
        kept = self.around.kept
        kept[(image.metadata.video_identifier, key)] = value
        kept.move_to_end((image.metadata.video_identifier, key))
        while len(kept) > MAX_ENTRIES:
            kept.popitem(last=False)
        return value


class CacheGet(Block):
    types = ("roboflow_core/cache_get@v1",)
    title = "Cache get"
    fields = (image(), need("key", KEY, STRING))
    outputs = gives(output=kinds(ANY))

    def run(self, image: ImageValue, key: str) -> Any:
        return self.around.kept.get((image.metadata.video_identifier, key))


class EnvironmentSecrets(Block):
    """Secrets from the environment of the pipeline process: each named variable is an output, in lower case."""

    types = ("roboflow_core/environment_secrets_store@v1",)
    title = "Environment secrets store"
    fields = (Field("variables_storing_secrets", literal=ListOf(Text(256), min_items=1, max_items=64)),)

    @classmethod
    def bind(cls, step: Mapping[str, Any]) -> Mapping[str, frozenset[str]]:
        names = step.get("variables_storing_secrets")
        named = [n for n in names if isinstance(n, str)] if isinstance(names, list) else []
        return {name.lower(): kinds("secret") for name in named}

    def run(self, variables_storing_secrets: list[str]) -> Any:
        names = list(dict.fromkeys(name.lower() for name in variables_storing_secrets))
        by_name = {name.lower(): name for name in variables_storing_secrets}
        values = [_secret(by_name[name]) for name in names]
        return values[0] if len(values) == 1 else tuple(values)


def _secret(name: str) -> str | None:
    """:raises StepFailed: the variable is not meant for workflows"""
    own = name if name.startswith(PREFIX) else PREFIX + name
    if own in os.environ:
        return os.environ[own]
    if name in os.environ:
        raise StepFailed(
            f"environment variable {name} is not open to workflows: give it to the device as {PREFIX}{name}"
        )
    return None


BLOCKS: tuple[type[Block], ...] = (CacheSet, CacheGet, EnvironmentSecrets)
