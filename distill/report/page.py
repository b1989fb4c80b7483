"""The page of a run: one HTML file that holds everything it shows and asks the network for nothing."""

from __future__ import annotations

import base64
import hashlib
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib import resources
from pathlib import Path
from string import Template

import numpy as np

from distill.report.pictures import Panel, Scale, encode_jpeg, encode_png, resize_to
from distill.report.tables import Row, common_fingerprint, html_table

WIDEST = 1280  # pixels of an embedded picture: twice the space it gets, for screens with a double density
WIDE = 1.9  # width by height from which only two pictures share a line


@dataclass(frozen=True)
class PageSection:
    """A part of the page. `html` is finished and escaped; a section without any is left out."""

    anchor: str
    heading: str
    html: str


def write_page(
    path: Path | str,
    *,
    title: str,
    lead: str,
    rows: Sequence[Row],
    protocol: str,
    charts: Sequence[str],
    panels: Sequence[Panel] = (),
    worst: Sequence[Panel] = (),
    more: Sequence[PageSection] = (),
    config_text: str = "",
    environment: Mapping[str, str] | None = None,
    command: str = "",
    notes: Sequence[str] = (),
    curves: str = "Curves",
) -> None:
    """Write a run's page, whole or not at all. All text is escaped; `charts` are SVGs of `line_chart` or `dot_chart`.

    Args:
        lead: One sentence that says how the run went.
        rows: The final table, all measured by `protocol` (its name, or "" where nothing was judged).
        worst: Panels of the images that went worst.
        more: Parts that follow the results, of `table_section`, `chart_section` or `errors_section`.
        notes: Remarks below the table.
        curves: What the part with the charts is called.

    Raises:
        ValueError: If two rows were measured by different protocols.
    """
    sections = [
        PageSection("results", "Results", _results(rows, protocol, notes)),
        *more,
        PageSection("pictures", "Pictures", "".join(map(_panel, panels))),
        PageSection("worst", "Worst images", "".join(map(_panel, worst))),
        PageSection(_anchor(curves), escape(curves), _charts(charts)),
        PageSection("configuration", "Configuration", _folded("Resolved configuration", config_text)),
        PageSection("environment", "Environment", _facts(environment or {})),
        PageSection("reproduce", "Reproduce", _code(command, "Command")),
    ]
    _write_atomically(Path(path), _document(title, lead, [section for section in sections if section.html]))


def table_section(heading: str, rows: Sequence[Row], notes: Iterable[str] = ()) -> PageSection:
    """A further table, with remarks below it; left out where it has no rows."""
    table = _scrolling(html_table(rows), heading) + _list("notes", map(escape, notes)) if rows else ""
    return PageSection(_anchor(heading), escape(heading), table)


def chart_section(heading: str, charts: Iterable[str]) -> PageSection:
    """Further SVGs of `line_chart` or `dot_chart`."""
    return PageSection(_anchor(heading), escape(heading), _charts(charts))


def _anchor(heading: str) -> str:
    return re.sub(r"\W+", "-", heading.lower()).strip("-")


def _document(title: str, lead: str, sections: Iterable[PageSection]) -> str:
    files = resources.files("distill.report")
    links, bodies = [], []
    for part in sections:
        links.append(f'<li><a href="#{part.anchor}">{part.heading}</a></li>')
        heading = f'<h2 id="{part.anchor}-heading">{part.heading}</h2>'
        bodies.append(
            f'<section id="{part.anchor}" aria-labelledby="{part.anchor}-heading">{heading}{part.html}</section>'
        )
    script = (files / "page.js").read_text(encoding="utf-8")
    return Template((files / "page.html").read_text(encoding="utf-8")).substitute(
        title=escape(title),
        lead=escape(lead),
        style=(files / "page.css").read_text(encoding="utf-8"),
        links="".join(links),
        script=script,
        digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),  # no other script may run
        sections="\n".join(bodies),
    )


# ---------------------------------------------------------------------------------------------------------- sections


def _results(rows: Sequence[Row], protocol: str, notes: Iterable[str]) -> str:
    """The final table, the protocol that every number in it was measured by, and the remarks."""
    remarks = _list("notes", map(escape, notes))
    if not rows:
        return remarks
    fingerprint = common_fingerprint(rows)
    mark = f", fingerprint <code>{escape(fingerprint)}</code>" if fingerprint else ""
    measured = f'<p class="quiet">Protocol <code>{escape(protocol)}</code>{mark}</p>' if protocol else ""
    return measured + _scrolling(html_table(rows), "Results") + remarks


def _panel(panel: Panel) -> str:
    """The pictures of one image as labelled figures, with the scales of their colours."""
    together = panel.compare if len(panel.compare) > 1 else ()
    alone = [label for label in panel.pictures if label not in together]
    figures = [_figure(panel.name, label, panel.pictures[label]) for label in alone]
    if together:
        figures.insert(1, _compare(panel, together))
    caption = f'<p class="quiet">{escape(panel.caption)}</p>' if panel.caption else ""
    head = f"<h3>{escape(panel.name)}</h3>{caption}"
    scales = _list("scales", map(_scale, panel.scales))
    shown = f'<div class="pictures {_columns(panel)}">{"".join(figures)}</div>'
    return f'<article class="panel">{head}{shown}{scales}</article>'


def _compare(panel: Panel, labels: Sequence[str]) -> str:
    """Pictures over each other, of which a slider shows one or parts of two."""
    layers = "".join(_figure(panel.name, label, panel.pictures[label]) for label in labels)
    stops = "".join(f"<span>{escape(label)}</span>" for label in labels)
    named = escape(f"From {' over '.join(labels)}: {panel.name}")
    last = 100 * (len(labels) - 1)
    return (
        f'<div class="compare"><div class="layers">{layers}<div class="edge"></div><span class="tag left"></span>'
        f'<span class="tag right"></span></div><input type="range" min="0" max="{last}" step="5" value="{last - 50}" '
        f'aria-label="{named}"><div class="stops" aria-hidden="true">{stops}</div></div>'
    )


def _columns(panel: Panel) -> str:
    """How many pictures share a line where there is room for them, as a class of the style sheet."""
    count = len(panel.pictures) - max(len(panel.compare) - 1, 0)
    if count < 3 or max(picture.shape[1] / picture.shape[0] for picture in panel.pictures.values()) > WIDE:
        return "by-two"
    return "by-three" if count in (3, 5, 6, 9) else "by-four"


def _figure(name: str, label: str, picture: np.ndarray) -> str:
    height, width = picture.shape[:2]
    if width > WIDEST:
        picture = resize_to(picture, (round(height * WIDEST / width), WIDEST))
    image = (
        f'<img src="{_data_uri(picture)}" alt="{escape(f"{label}, {name}")}" width="{width}" height="{height}" '
        f'loading="lazy" decoding="async">'
    )
    return f"<figure>{image}<figcaption>{escape(label)}</figcaption></figure>"


def _data_uri(picture: np.ndarray) -> str:
    """The smaller of the picture's PNG and JPEG files, as an address that holds it."""
    files = {"png": encode_png(picture), "jpeg": encode_jpeg(picture)}
    kind = min(files, key=lambda name: len(files[name]))
    return f"data:image/{kind};base64,{base64.b64encode(files[kind]).decode()}"


def _scale(scale: Scale) -> str:
    places = np.linspace(0, len(scale.colours) - 1, 13).round().astype(int)
    stops = ",".join("#" + bytes(colour).hex() for colour in scale.colours[places].astype(np.uint8))
    ticks = "".join(f'<span style="left:{100 * place:.1f}%">{escape(text)}</span>' for place, text in scale.ticks)
    bar = f'<div class="bar" style="background:linear-gradient(90deg,{stops})"></div>'
    return f'{escape(scale.label)}{bar}<div class="ticks">{ticks}</div>'


def _charts(charts: Iterable[str]) -> str:
    drawn = "".join(f"<div>{chart}</div>" for chart in charts)
    return f'<div class="charts">{drawn}</div>' if drawn else ""


def _list(name: str, items: Iterable[str]) -> str:
    entries = "".join(f"<li>{item}</li>" for item in items)
    return f'<ul class="{name}">{entries}</ul>' if entries else ""


def _folded(summary: str, text: str) -> str:
    if not text:
        return ""
    return f'<details class="code"><summary>{escape(summary)}</summary>{_pre(text, summary)}</details>'


def _facts(facts: Mapping[str, str]) -> str:
    lines = "".join(
        f'<tr><th scope="row">{escape(str(name))}</th><td>{escape(str(value))}</td></tr>'
        for name, value in facts.items()
    )
    return _scrolling(f'<table class="facts"><tbody>{lines}</tbody></table>', "Environment") if lines else ""


def _code(text: str, label: str) -> str:
    return f'<div class="code">{_pre(text, label)}</div>' if text else ""


def _pre(text: str, label: str) -> str:
    return f'<pre tabindex="0" role="region" aria-label="{escape(label)}"><code>{escape(text)}</code></pre>'


def _scrolling(html: str, label: str) -> str:
    """A box of its own for what may be wider than the screen; the keyboard scrolls it too."""
    return f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(label)}">{html}</div>'


# -------------------------------------------------------------------------------------------------------------- file


def _write_atomically(path: Path, text: str) -> None:
    """A file that is whole at any moment: written beside its place, then moved there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        draft.write_bytes(text.encode("utf-8", "replace"))  # a file's name may hold what UTF-8 cannot
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)
