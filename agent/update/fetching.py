"""Everything a revision needs, fetched; every problem told together."""

from __future__ import annotations

from collections.abc import Callable

from agent.errors import ArtifactRefused
from agent.store import Fetcher, Store
from wire.desired import Desired
from wire.problem import Problem
from wire.targets import Kind


async def fetch_all(
    desired: Desired, store: Store, fetcher: Fetcher, progress: Callable[[float], None]
) -> None:
    """Fetch what is missing; `progress` gets the share that is there.

    :raises ArtifactRefused: with a problem for each that cannot be had
    """
    work: list[tuple[str, Kind, str]] = []
    work += [(f"workflows.{name}", "workflow", w.digest) for name, w in desired.workflows.items()]
    work += [(f"models.{name}", "model", m.digest) for name, m in desired.models.items()]
    work += [("agent", "release", desired.agent.digest)] if desired.agent and desired.agent.digest else []
    problems: list[Problem] = []
    for index, (path, kind, digest) in enumerate(work):
        try:
            if kind != "workflow":
                await store.fetch_model(
                    digest,
                    fetcher,
                    lambda done, all_, i=index: progress((i + done / max(all_, 1)) / len(work)),  # type: ignore[misc]
                    kind,
                )
            else:
                await store.fetch_workflow(digest, fetcher)
        except ArtifactRefused as e:
            problems.append(Problem(path, e.reason, str(e)))
    if problems:
        raise ArtifactRefused(problems[0].reason, "; ".join(map(str, problems)), problems)
