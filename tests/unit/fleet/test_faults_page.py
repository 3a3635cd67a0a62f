"""The table of faults in `docs/health.md` is made from their declaration: `python -m tests.unit.fleet.test_faults_page` writes it."""

from __future__ import annotations

from pathlib import Path

from fleet.health.faults import KINDS

PAGE = Path(__file__).resolve().parents[3] / "docs" / "health.md"
HEAD = "| fault | of | severity | told after | over after | follows from | what it is, what to do |\n"


def rendered() -> str:
    rows = "".join(
        f"| `{kind.code}` | {kind.scope.value} | {kind.severity.value} | {kind.visible_s:g} s | {kind.clear_s:g} s "
        f"| {', '.join(kind.depends_on)} | {kind.text} {kind.remedy} |\n"
        for kind in sorted(KINDS, key=lambda kind: kind.code)
    )
    return f"{HEAD}|---|---|---|---|---|---|---|\n{rows}"


def test_the_page_has_every_fault_as_it_is_declared() -> None:
    assert rendered() in PAGE.read_text(), "run python -m tests.unit.fleet.test_faults_page"


if __name__ == "__main__":
    text = PAGE.read_text()
    start = text.index(HEAD) if HEAD in text else len(text)
    rest = text[start:].partition("\n\n")[2]
    PAGE.write_text(text[:start] + rendered() + (f"\n{rest}" if rest else ""))
