"""The table of all checks in `docs/invariants.md`."""

from __future__ import annotations

from automations.doctor.run import all_checks

BEGIN, END = "<!-- checks -->", "<!-- end of checks -->"


def table() -> str:
    """Markdown: id, when it holds, the rule."""
    lines = ["| Id | Holds | Rule |", "| --- | --- | --- |"]
    lines += [f"| {check.id} | {'at rest' if check.at_rest else 'always'} | {check.title} |" for check in all_checks()]
    return "\n".join(lines)


def filled(text: str) -> str:
    """The document with its table as it should be."""
    before, rest = text.split(BEGIN, 1)
    return f"{before}{BEGIN}\n{table()}\n{END}{rest.split(END, 1)[1]}"
