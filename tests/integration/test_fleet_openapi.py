"""Whatever is asked of the API, in the words of its own description or against them, it answers as described, and never with 5xx."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.integration.fleet_stand import Stand, package
from wire.picture import MEDIA_TYPE

pytestmark = [
    pytest.mark.usefixtures("mosquitto"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:schemathesis"),
]

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
schemathesis.serializer.alias(["video/webm", MEDIA_TYPE], "application/octet-stream")
EXAMPLES = 2
LONG_EXAMPLES = 40


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    running = Stand(tmp_path_factory.mktemp("openapi") / "data")
    with running.client() as client:
        running.enrol("a")
        client.set_desired("a", {})
        client.create_user("a", password="seven wooden horses", bindings=[{"role": "viewer"}])
    headers = {"Authorization": f"Bearer {running.admin_token}"}
    uploaded = httpx.post(f"{running.url}/api/v1/models", content=package("a"), headers=headers, timeout=60)
    assert uploaded.status_code == 201
    yield running
    assert running.stop() == 0


def document(stand: Stand) -> dict[str, Any]:
    return dict(httpx.get(f"{stand.url}/api/v1/openapi.json").json())


def ask_everything(stand: Stand, examples: int) -> list[str]:
    """Every operation with so many made-up requests, the same in every run; what was wrong with the answers."""
    schema = schemathesis.openapi.from_dict(document(stand))
    schema.config.update(base_url=stand.url)
    schema.config.generation.update(modes=[GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
    wrong, asked = [], Counter[str]()
    operations = [each.ok() for each in schema.get_all_operations()]
    for operation in operations:

        @settings(
            max_examples=examples,
            deadline=None,
            database=None,
            derandomize=True,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy())
        def ask(case: Any) -> None:
            asked[case.operation.label] += 1
            headers = {"Authorization": f"Bearer {stand.admin_token}"}
            case.call_and_validate(headers=headers, checks=CHECKS, timeout=30)

        try:
            ask()
        except (AssertionError, FailureGroup) as e:
            failures = getattr(e, "exceptions", (e,))
            wrong += [f"{operation.label}: {failure}"[:2000] for failure in failures]
    print(f"{asked.total()} requests of {len(operations)} operations")
    assert set(asked) == {operation.label for operation in operations}
    return wrong


@pytest.mark.timeout(300)
def test_no_answer_is_5xx_or_another_than_described(stand: Stand) -> None:
    wrong = ask_everything(stand, EXAMPLES)
    assert not wrong, "\n\n".join(wrong)


@pytest.mark.long
@pytest.mark.timeout(3000)
def test_no_answer_to_many_requests_is_5xx_or_another_than_described(stand: Stand) -> None:
    wrong = ask_everything(stand, LONG_EXAMPLES)
    assert not wrong, "\n\n".join(wrong)


def test_every_operation_says_who_may_ask_and_what_errors_look_like(stand: Stand) -> None:
    described = document(stand)
    for path, methods in described["paths"].items():
        assert path.startswith("/api/v1/"), path
        for method, operation in methods.items():
            where = f"{method} {path}"
            assert "security" in operation, where
            assert operation.get("summary"), where
            problems = {s: r for s, r in operation["responses"].items() if s.startswith(("4", "5"))}
            assert "422" in problems, where
            for status, response in problems.items():
                assert list(response["content"]) == ["application/problem+json"], f"{where} {status}"
            done = [r for s, r in operation["responses"].items() if s in ("200", "201")]
            for response in done:
                assert response.get("content"), where
                (media, body), *_ = response["content"].items()
                assert media != "application/json" or "schema" in body, where


def test_nobody_gets_anything_but_what_is_public(stand: Stand) -> None:
    asked = [
        (method, path)
        for path, methods in document(stand)["paths"].items()
        for method, operation in methods.items()
        if operation["security"] != []
    ]
    with httpx.Client(base_url=stand.url, timeout=30) as http:
        for method, path in asked:
            answer = http.request(method, path.replace("{", "").replace("}", ""))
            assert answer.status_code in (401, 422, 404), f"{method} {path}: {answer.status_code}"
            if "{" not in path and method == "get":
                assert answer.status_code == 401, path
