"""What the tools beside this one share: the pages of docs/ that they fill, and how tables and plots look there."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES, RESULTS = ROOT / "docs" / "why", ROOT / "docs" / "results"
END = "<!-- end -->"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown."""
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, ["---"] * len(head), *rows))


def fill(page: Path, maker: str, text: str) -> None:
    """Put text between the two marks of a page that name its maker, a tool beside this one and its argument.

    Raises:
        SystemExit: If the page has no such mark.
    """
    begin = f"<!-- begin: tools/measure/{maker} -->"
    before, mark, rest = page.read_text(encoding="utf-8").partition(begin)
    _, end, after = rest.partition(END)
    if not mark or not end:
        raise SystemExit(f"{page} has no place for this: write {begin}{END} where it belongs")
    page.write_text(f"{before}{begin}\n\n{text}\n\n{END}{after}", encoding="utf-8")


def standing_alone(svg: str) -> str:
    """A chart with a margin and a white ground: a page may be dark, and a linked picture does not learn of that."""
    margin = 12
    width, height = map(int, re.findall(r'viewBox="0 0 (\d+) (\d+)"', svg)[0])
    box = f'{-margin} {-margin} {width + 2 * margin} {height + 2 * margin}"'
    ground = f'<rect x="{-margin}" y="{-margin}" width="100%" height="100%" fill="#fff"/>'
    return svg.replace(f'0 0 {width} {height}"', box, 1).replace(">", f">{ground}", 1) + "\n"
