"""How updates are judged where they only have to come to their end; judging has tests of its own. Values of `settings.update`."""

from __future__ import annotations

from typing import Any

AT_ONCE: dict[str, Any] = {"shadow_s": 0, "probation_s": 0.2, "gates": {"min_frames": 1}}
SOON: dict[str, Any] = {"shadow_s": 0, "probation_s": 2, "gates": {"min_frames": 30}}
