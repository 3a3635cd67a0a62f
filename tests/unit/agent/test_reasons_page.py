"""`docs/reasons.md` is made from the list of reason codes: `python -m tests.unit.agent.test_reasons_page` writes it."""

from __future__ import annotations

from pathlib import Path

from wire.reasons import Reason

PAGE = Path(__file__).resolve().parents[3] / "docs" / "reasons.md"


def rendered() -> str:
    rows = "\n".join(f"| `{reason.value}` | {reason.text} |" for reason in Reason)
    return (
        "# Reason codes\n\nEvery refusal, failure and degradation names one of these. A code is stable for ever; its text may "
        "improve. This page is made from `wire/reasons.py` by `python -m tests.unit.agent.test_reasons_page`.\n\n"
        f"| code | what it means and what to do |\n|---|---|\n{rows}\n"
    )


def test_the_page_lists_every_reason_as_the_code_has_it() -> None:
    assert PAGE.read_text() == rendered(), "run python -m tests.unit.agent.test_reasons_page"


if __name__ == "__main__":
    PAGE.write_text(rendered())
