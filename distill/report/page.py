"""A page: one HTML file that holds everything it shows and asks the network for nothing."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib import resources
from pathlib import Path
from string import Template

import numpy as np

from distill.files import write_atomically
from distill.report.pictures import Panel, Scale, encode_jpeg, encode_png, resize_to
from distill.report.tables import Row, common_fingerprint, html_lines, html_table

WIDEST = 1280  # pixels of an embedded picture: twice the space it gets, for screens with a double density
WIDE = 1.9  # width by height from which only two pictures share a line


@dataclass(frozen=True)
class PageSection:
    """A part of the page. `html` is finished and escaped; a section without any is left out."""

    heading: str
    html: str

    @property
    def anchor(self) -> str:
        """What an address in the page calls it."""
        return re.sub(r"\W+", "-", self.heading.lower()).strip("-")


def write_page(path: Path, title: str, lead: str, sections: Iterable[PageSection], verb: str = "train") -> None:
    """Write a page, whole or not at all. `lead` is one sentence on what it shows; all text is escaped.

    The page names the `verb` of the command that made it, which knows its own pages by that.

    Its sections are made by the functions below, with the charts of `charts.py` and the panels of `pictures.py`.
    """
    files = resources.files("distill.report")
    links, bodies = [], []
    for part in sections:
        if part.html:
            heading, anchor = escape(part.heading), part.anchor
            links.append(f'<li><a href="#{anchor}">{heading}</a></li>')
            head = f'<h2 id="{anchor}-heading">{heading}</h2>'
            bodies.append(f'<section id="{anchor}" aria-labelledby="{anchor}-heading">{head}{part.html}</section>')
    script = (files / "page.js").read_text(encoding="utf-8")
    text = Template((files / "page.html").read_text(encoding="utf-8")).substitute(
        title=escape(title),
        lead=escape(lead),
        verb=verb,
        style=(files / "page.css").read_text(encoding="utf-8"),
        links="".join(links),
        script=script,
        digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),  # no other script may run
        sections="\n".join(bodies),
    )
    write_atomically(path, text.encode("utf-8", "replace"))  # a file's name may hold what UTF-8 cannot


# ---------------------------------------------------------------------------------------------------------- sections


def results_section(rows: Sequence[Row], protocol: str, notes: Iterable[str] = ()) -> PageSection:
    """The final table, the protocol that every number in it was measured by ("" if by none), and remarks.

    Raises:
        ValueError: If two rows were measured by different protocols.
    """
    fingerprint = common_fingerprint(rows)
    mark = f", fingerprint <code>{escape(fingerprint)}</code>" if fingerprint else ""
    measured = f'<p class="quiet">Protocol <code>{escape(protocol)}</code>{mark}</p>' if rows and protocol else ""
    return PageSection("Results", measured + table_section("Results", rows, notes).html)


def table_section(heading: str, rows: Sequence[Row], notes: Iterable[str] = ()) -> PageSection:
    """A table, with remarks below it."""
    table = _scrolling(html_table(rows), heading) if rows else ""
    return PageSection(heading, table + _list("notes", map(escape, notes)))


def chart_section(heading: str, charts: Iterable[str]) -> PageSection:
    """SVGs of `line_chart` or `dot_chart`."""
    drawn = "".join(f"<div>{chart}</div>" for chart in charts)
    return PageSection(heading, f'<div class="charts">{drawn}</div>' if drawn else "")


def errors_section(breakdown: Iterable[Sequence[str]], chart: str) -> PageSection:
    """Where a model's errors are: a table's lines by distance and at depth edges, and the SVG of `error_chart`."""
    table = _scrolling(html_lines(breakdown), "Errors by distance and at depth edges")
    return PageSection("Where the errors are", table + chart_section("", [chart]).html)


def pictures_section(heading: str, panels: Iterable[Panel]) -> PageSection:
    """The pictures of some images."""
    return PageSection(heading, "".join(map(_panel, panels)))


def origin_sections(environment: Mapping[str, str], command: str, config_text: str = "") -> list[PageSection]:
    """What the page's figures come from, and the command that makes them again."""
    label = "Resolved configuration"
    folded = f'<details class="code"><summary>{label}</summary>{_pre(config_text, label)}</details>'
    lines = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td>{escape(value)}</td></tr>' for name, value in environment.items()
    )
    facts = _scrolling(f'<table class="facts"><tbody>{lines}</tbody></table>', "Environment")
    return [
        PageSection("Configuration", folded if config_text else ""),
        PageSection("Environment", facts),
        PageSection("Reproduce", f'<div class="code">{_pre(command, "Command")}</div>'),
    ]


def _panel(panel: Panel) -> str:
    """The pictures of one image as labelled figures, with the scales of their colours, or what these mean."""
    together = panel.compare if len(panel.compare) > 1 else ()
    alone = [label for label in panel.pictures if label not in together]
    figures = [_figure(panel.name, label, panel.pictures[label]) for label in alone]
    if together:
        figures.insert(1, _compare(panel, together))
    caption = f'<p class="quiet">{escape(panel.caption)}</p>' if panel.caption else ""
    head = f"<h3>{escape(panel.name)}</h3>{caption}"
    named = ((bytes(colour).hex(), escape(name)) for name, colour in panel.legend.items())
    legend = _list("legend", (f'<span style="background:#{colour}"></span>{name}' for colour, name in named))
    scales = _list("scales", map(_scale, panel.scales)) + legend
    # How many share a line where there is room for them, as a class of the style sheet.
    count, widest = len(figures), max(picture.shape[1] / picture.shape[0] for picture in panel.pictures.values())
    columns = "by-two" if count < 3 or widest > WIDE else "by-three" if count in (3, 5, 6, 9) else "by-four"
    shown = f'<div class="pictures {columns}">{"".join(figures)}</div>'
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


def _figure(name: str, label: str, picture: np.ndarray) -> str:
    height, width = picture.shape[:2]
    if width > WIDEST:
        picture = resize_to(picture, (round(height * WIDEST / width), WIDEST))
    files = {"png": encode_png(picture), "jpeg": encode_jpeg(picture)}
    kind = min(files, key=lambda name: len(files[name]))
    data = base64.b64encode(files[kind]).decode()
    image = (
        f'<img src="data:image/{kind};base64,{data}" alt="{escape(f"{label}, {name}")}" width="{width}" '
        f'height="{height}" loading="lazy" decoding="async">'
    )
    return f"<figure>{image}<figcaption>{escape(label)}</figcaption></figure>"


def _scale(scale: Scale) -> str:
    places = np.linspace(0, len(scale.colours) - 1, 13).round().astype(int)
    stops = ",".join("#" + bytes(colour).hex() for colour in scale.colours[places].astype(np.uint8))
    ticks = "".join(f'<span style="left:{100 * place:.1f}%">{escape(text)}</span>' for place, text in scale.ticks)
    bar = f'<div class="bar" style="background:linear-gradient(90deg,{stops})"></div>'
    return f'{escape(scale.label)}{bar}<div class="ticks">{ticks}</div>'


def _list(name: str, items: Iterable[str]) -> str:
    entries = "".join(f"<li>{item}</li>" for item in items)
    return f'<ul class="{name}">{entries}</ul>' if entries else ""


def _pre(text: str, label: str) -> str:
    return f'<pre tabindex="0" role="region" aria-label="{escape(label)}"><code>{escape(text)}</code></pre>'


def _scrolling(html: str, label: str) -> str:
    """A box of its own for what may be wider than the screen; the keyboard scrolls it too."""
    return f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(label)}">{html}</div>'
