"""The device's running parts: engine and pipeline units by name, and the layout they make up.

Starts, replaces and ends them; decides nothing about revisions.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import psutil

from agent import reconcile
from agent.backoff import Backoff, Budget
from agent.blindness import CameraLedger
from agent.child import Launcher
from agent.clock import Clock
from agent.config import Config
from agent.engines import EngineUnit
from agent.files import write_atomic
from agent.pipelines import Keep, PipelineUnit
from agent.reconcile import EngineSpec, Layout, PipelineSpec
from agent.store import Store
from agent.stress import Relief
from agent.supervise import Keeper, Part, Supervisor
from agent.vault import Vault
from wire import local
from wire.desired import Desired
from wire.names import is_name
from wire.reasons import Reason

log = logging.getLogger(__name__)

LEDGER_FILE = "blindness.json"
LEDGER_RUN_S = 2.0
LEDGER_STATE_S = 300.0
"""The books are written often to the run directory (a tmpfs) and seldom to flash."""

RESERVE_SHARE = 0.15
"""So much of the memory stays available where former engines are kept while a new revision is on probation."""


class Device:
    """To be used on the event loop's thread. `on_change`: something that reported state shows has changed."""

    def __init__(
        self,
        config: Config,
        store: Store,
        launcher: Launcher,
        clock: Clock,
        keep: Keep,
        vault: Vault | None = None,
    ) -> None:
        self._vault = vault
        self.engines: dict[str, EngineUnit] = {}
        self.pipelines: dict[str, PipelineUnit] = {}
        self.supervisor = Supervisor(clock, self._tick)
        self.on_change: Callable[[], None] = lambda: None
        self.on_taken: Callable[[local.CameraSource, local.Taken], None] = lambda _camera, _taken: None
        self.on_tick: Callable[[float], None] = lambda _at_mono: None
        self._config = config
        self._store = store
        self._launcher = launcher
        self._clock = clock
        self._keep = keep
        self._names: dict[str, str] = {}
        self._books = self._load_books()
        self._next_run_mono = self._next_state_mono = 0.0
        self._serial = 0
        self._relief = Relief()

    @property
    def layout(self) -> Layout:
        """What runs."""
        return Layout(
            {key: unit.spec for key, unit in self.engines.items()},
            {name: unit.spec for name, unit in self.pipelines.items()},
        )

    def check_secrets(self, desired: Desired) -> None:
        """:raises UpdateRefused: with each secret that cannot be opened or is not there"""
        if self._vault is not None:
            self._vault.check(desired)

    def take_secrets(self, desired: Desired | None) -> None:
        """Processes that start from now on get the secrets of this document."""
        if self._vault is not None:
            self._vault.take(desired)

    def name_models(self, names: Mapping[str, str]) -> None:
        """How people call the digests, for messages."""
        self._names |= names

    def run(self, layout: Layout, revision: int) -> None:
        """Start everything at once, with no waiting for each other: the way after a start of the agent."""
        for spec in layout.engines.values():
            self.engines[spec.key] = self.start_engine(spec)
        for pipeline in layout.pipelines.values():
            self.pipelines[pipeline.name] = self.start_pipeline(pipeline, revision, held=False)

    def start_engine(self, spec: EngineSpec) -> EngineUnit:
        """Start an engine beside those that run; it is not yet part of the layout."""
        unit = EngineUnit(
            spec,
            lambda digest: self._names.get(digest, digest[7:19]),
            self._store.model_path,
            self._socket(spec.key),
            self._config.state_dir / "engine-cache",
            self._config.limits,
        )
        unit.on_change = self._changed
        unit.keeper = self._keeper(unit)
        self.supervisor.add(unit.keeper)
        return unit

    def start_pipeline(self, spec: PipelineSpec, revision: int, *, held: bool) -> PipelineUnit:
        """Start a pipeline; `held` where it is a candidate."""
        self._serial += 1
        ledger = None if held else self._books.pop(spec.name, None)
        unit = PipelineUnit(
            spec,
            revision,
            self._binding,
            self._keep,
            self._config.run_dir / f"p{self._serial}",
            self._config.limits,
            self._clock,
            ledger or CameraLedger(self._clock.mono()),
            held=held,
            allow_code=self._config.allow_workflow_code,
            vault=self._vault,
            state_dir=self._config.state_dir,
        )
        unit.on_change = self._changed
        unit.on_taken = lambda camera, taken: self._taken(unit, camera, taken)
        unit.keeper = self._keeper(unit)
        self.supervisor.add(unit.keeper)
        return unit

    def _taken(self, unit: PipelineUnit, camera: local.CameraSource, taken: local.Taken) -> None:
        """What a candidate takes for re-training does not count: its policy is not in force yet."""
        if isinstance(taken, local.SampleTaken) and self.pipelines.get(unit.spec.name) is not unit:
            Path(taken.path).unlink(missing_ok=True)
            return
        self.on_taken(camera, taken)

    async def end(self, *units: EngineUnit | PipelineUnit) -> None:
        """End units for good, together."""
        await asyncio.gather(*(self.supervisor.remove(unit.keeper) for unit in units))
        for unit in units:
            if isinstance(unit, PipelineUnit):
                unit.clear()

    def spare_memory(self) -> bool:
        """Whether engines may stay in memory that nothing uses just now."""
        memory = psutil.virtual_memory()
        return bool(memory.available >= RESERVE_SHARE * memory.total)

    async def end_idle_engines(self, needed: Layout) -> None:
        """End the engines that this layout does not have."""
        await self.end_engines(tuple(key for key in self.engines if key not in needed.engines))

    async def end_engines(self, keys: tuple[str, ...]) -> None:
        """End these engines, whether something uses them or not."""
        engines = [self.engines.pop(key) for key in keys]
        await self.end(*engines)
        for engine in engines:
            engine.socket.unlink(missing_ok=True)

    async def force(self, layout: Layout, revision: int) -> None:
        """Have this layout run, whatever state everything is in: what is not needed ends, the rest starts anew with what it has there."""
        plan = reconcile.plan(self.layout, layout)
        for engine in plan.engine_starts:
            self.engines[engine.key] = self.start_engine(engine)
        for spec in plan.switches:
            self.pipelines[spec.name].restart_with(spec, revision, Reason.SWITCH_FAILED)
        replaced = [self.pipelines.pop(s.name) for s in plan.starts if s.name in self.pipelines]
        stopped = [self.pipelines.pop(name) for name in plan.stops]
        await self.end(*replaced, *stopped)
        for former in replaced:
            self._books[former.spec.name] = former.ledger
        for spec in plan.starts:
            self.pipelines[spec.name] = self.start_pipeline(spec, revision, held=False)
        await self.end_idle_engines(layout)

    def ease(self, relief: Relief) -> None:
        """Have every camera work on this share of its frames."""
        self._relief = relief
        for unit in self.pipelines.values():
            unit.ease(relief)

    def keep_books_soon(self) -> None:
        """Pipelines have come or gone: write the books at the next tick."""
        self._next_run_mono = 0.0

    def pipeline_of(self, camera: str) -> PipelineUnit | None:
        """The pipeline that watches a camera."""
        return next((unit for unit in self.pipelines.values() if unit.spec.camera.name == camera), None)

    async def close(self, cause: Reason = Reason.AGENT_DOWN) -> None:
        """End everything, then write the books for the last time; cameras are blind from now on for this cause."""
        await self.supervisor.close(cause)
        for unit in self.pipelines.values():
            unit.clear()
        self._save_books(self._config.state_dir, durable=True)
        self._save_books(self._config.run_dir, durable=False)

    def model_bindings(self, spec: PipelineSpec) -> dict[str, local.ModelBinding]:
        """Where the engines of a pipeline are asked, by the workflow's model id."""
        return {
            model_id: local.ModelBinding(use.name, use.digest, str(self._socket(use.engine)))
            for model_id, use in spec.uses
        }

    def _binding(self, spec: PipelineSpec, revision: int) -> local.Binding:
        models = self.model_bindings(spec)
        return local.Binding(
            revision,
            spec.workflow,
            spec.workflow_digest,
            str(self._store.object_path(spec.workflow_digest)),
            models,
            spec.parameters,
            spec.send,
            spec.min_interval_s,
            spec.skip_cloud_blocks,
        )

    def _socket(self, key: str) -> Path:
        return self._config.run_dir / f"e-{key}"

    def _keeper(self, part: Part) -> Keeper:
        limits = self._config.limits
        backoff = Backoff(limits.restart_min_s, limits.restart_max_s, random.random)
        budget = Budget(limits.restarts, limits.restarts_window_s)
        return Keeper(part, self._launcher, self._clock, backoff, limits.stop_s, budget, limits.flapping_s)

    def _changed(self) -> None:
        self.on_change()

    # --- the books ----------------------------------------------------------------------------------------------------

    def _tick(self, at_mono: float) -> None:
        for unit in self.pipelines.values():
            unit.tick()
            unit.ease(self._relief)
        if at_mono >= self._next_run_mono:
            self._next_run_mono = at_mono + LEDGER_RUN_S
            self._save_books(self._config.run_dir, durable=False)
        if at_mono >= self._next_state_mono:
            self._next_state_mono = at_mono + LEDGER_STATE_S
            self._save_books(self._config.state_dir, durable=False)
        self.on_tick(at_mono)

    def _save_books(self, directory: Path, *, durable: bool) -> None:
        ledgers = {name: unit.ledger.to_json() for name, unit in self.pipelines.items()}
        waiting = {name: ledger.to_json() for name, ledger in self._books.items()}
        body = {
            "boot_id": self._clock.boot_id(),
            "at_mono": self._clock.mono(),
            "pipelines": waiting | ledgers,
        }
        try:
            write_atomic(directory / LEDGER_FILE, json.dumps(body).encode(), 0o600, durable=durable)
        except OSError as e:
            log.warning("blind time cannot be written", extra={"cause": str(e)})

    def _load_books(self) -> dict[str, CameraLedger]:
        """The newest of the two files; one of this boot wins, because only its times mean something now."""
        found: list[tuple[bool, float, dict[str, Any]]] = []
        for directory in (self._config.run_dir, self._config.state_dir):
            try:
                body = json.loads((directory / LEDGER_FILE).read_bytes())
                found.append(
                    (body["boot_id"] == self._clock.boot_id(), float(body["at_mono"]), body["pipelines"])
                )
            except FileNotFoundError:
                continue
            except (OSError, ValueError, KeyError, TypeError) as e:
                log.warning("blind time cannot be read", extra={"cause": str(e)})
        if not found:
            return {}
        same_boot, _, pipelines = max(found, key=lambda entry: entry[:2])
        return self._read_books(pipelines, same_boot=same_boot)

    def _read_books(self, pipelines: dict[str, Any], *, same_boot: bool) -> dict[str, CameraLedger]:
        books = {}
        for name, value in pipelines.items():
            try:
                if is_name(name):
                    books[name] = CameraLedger.from_json(value, self._clock.mono(), same_boot=same_boot)
            except (KeyError, TypeError, ValueError) as e:
                log.warning(
                    "blind time of a pipeline cannot be read", extra={"pipeline": name, "cause": str(e)}
                )
        return books
