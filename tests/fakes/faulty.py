"""Starts a child of the agent as it is, but for one thing: an engine whose package holds a `fault.json` does what that says.

`python faulty.py -m MODULE --link-fd N`. The engine process is the real one; what is planted lies in the call that runs the model:
`slower`: each run takes so much longer, as a share; `crash_at`: SIGKILL at this run, `hang_at`: nothing more from this run on; both
also at 0, while it loads. `load_s`: it takes so much longer to load. `leak_bytes`: kept at each run; `nan_from`: from this run on the model's outputs are no numbers,
`nothing_from`: all of them are far below any threshold.
"""

from __future__ import annotations

import json
import os
import runpy
import signal
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
ENGINE = "runtime.model.process"


def plant() -> None:
    import numpy as np

    from runtime.model.session import LoadedModel

    begin, outputs = LoadedModel.__init__, LoadedModel.outputs

    def end_or_hang(self: Any) -> None:
        if self.runs == self.fault.get("crash_at"):
            os.kill(os.getpid(), signal.SIGKILL)
        if self.runs == self.fault.get("hang_at"):
            time.sleep(3600)

    def planted_begin(self: Any, directory: Path, *arguments: Any, **more: Any) -> None:
        path = directory / "fault.json"
        self.fault = json.loads(path.read_text()) if path.exists() else {}
        self.runs, self.kept = 0, []
        end_or_hang(self)
        if load_s := self.fault.get("load_s"):  # under libfaketime, which one test needs, no sleep works
            time.sleep(load_s)
        begin(self, directory, *arguments, **more)

    def planted_outputs(self: Any, batch: Any) -> Any:
        started = time.perf_counter()
        made = outputs(self, batch)
        fault, self.runs = self.fault, self.runs + 1
        end = time.perf_counter() + fault.get("slower", 0.0) * (time.perf_counter() - started)
        while time.perf_counter() < end:
            pass
        end_or_hang(self)
        if leak_bytes := fault.get("leak_bytes"):
            self.kept.append(bytearray(os.urandom(1) * leak_bytes))
        if self.runs >= fault.get("nan_from", 1 << 60):
            made = [np.full_like(each, np.nan) for each in made]
        if self.runs >= fault.get("nothing_from", 1 << 60):
            made = [np.full_like(each, -100.0) for each in made]
        return made

    LoadedModel.__init__, LoadedModel.outputs = planted_begin, planted_outputs  # type: ignore[method-assign]


def main() -> None:
    _, flag, module, *rest = sys.argv
    assert flag == "-m"
    if module == ENGINE:
        plant()
    sys.argv = [module, *rest]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
