"""What `distill evaluate` shows: the table on the screen, and the page of errors and worst images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from html import escape
from pathlib import Path

from rich.table import Table

from distill.console import display
from distill.data import DecodeError, DepthDataset
from distill.evaluation import Evaluation
from distill.evaluation.arrays import as_array
from distill.evaluation.ibims import VERSION
from distill.evaluation.published_figures import PublishedTable, tables_beside
from distill.evaluation.scoring import Predict
from distill.evaluation.uncertainty import SIGMAS, STEPS, Sparsification
from distill.inference.panels import depth_panel, network_input
from distill.pages.model_results import WORST, breakdown_lines, where_errors_are
from distill.report.charts import CHART_SIZE, line_chart
from distill.report.page import (
    PageSection,
    chart_section,
    pictures_section,
    results_section,
    table_section,
    write_page,
)
from distill.report.pictures import Panel
from distill.report.tables import ABSENT, SHORT, Row, html_table, metric_text, results_table, short_text, terminal_table

LOST = 0.9  # share of pixels beyond the histogram's last limit from which units are suspected
UNITS = (
    "check the units (--depth-scale, --prediction-scale), or evaluate a model of relative depth with --median-scaling"
)


def write_evaluation_page(
    path: Path, model: str, results: Sequence[Evaluation], dataset: DepthDataset, names: Sequence[str], predict: Predict
) -> None:
    """Write the page of one model; of several protocols, the first is shown. `names` are those of all samples."""
    first = results[0]
    sections = [
        results_section([Row(model, first.metrics, first.protocol.fingerprint)], first.protocol.name),
        where_errors_are(first, model),
        *([uncertainty_section(first.uncertainty)] if first.uncertainty else []),
        pictures_section("Worst images", worst_panels(first, dataset, names, predict)),
    ]
    if rows := published_rows(model, first):
        notes = "".join(f"<p>{escape(line)}</p>" for line in source_lines(first))
        sections.insert(1, PageSection("Published figures", html_table(rows) + notes))
    lead = f"{len(first.images)} images. {first.protocol.describe()}."
    write_page(path, f"{model} by {first.protocol.name}", lead, sections, "evaluate")


def published_rows(model: str, one: Evaluation) -> list[Row]:
    """A result and the published figures on its data set; empty where there are none.

    What was not measured by its protocol on as many images has no fingerprint, and so is shown without being compared.
    """
    rows, tables = [], tables_beside(one)
    for table in tables:
        same = one.protocol.fingerprint if table.compares(one) else None
        extra = {"images": str(table.images or ABSENT), "source": f"[{number_of(table, tables)}]"}
        for name in table.models:
            figures = {key: value for key, value in table.figures(name).items() if key in SHORT}
            rows.append(Row(name, figures, same, extra))
    metrics = {name: one.metrics[name] for name in SHORT}
    return rows and [Row(model, metrics, one.protocol.fingerprint, {"images": str(len(one.images))}), *rows]


def number_of(table: PublishedTable, tables: Sequence[PublishedTable]) -> int:
    """The number of a table's source among those of some tables, from 1."""
    return 1 + list(dict.fromkeys(one.url for one in tables)).index(table.url)


def source_lines(one: Evaluation) -> list[str]:
    """Where the published figures beside a result stand, by number."""
    tables = tables_beside(one)
    lines = {}
    for table in tables:
        quoted = f", quoted by {table.via}" if table.via else ""
        lines[table.url] = f"[{number_of(table, tables)}] {table.title}{quoted}: {table.url}"
    return list(lines.values())


def worst_panels(results: Evaluation, dataset: DepthDataset, names: Sequence[str], predict: Predict) -> list[Panel]:
    """Image, truth, prediction and error of the images that went worst, each read and predicted once more."""
    panels = []
    for image in results.worst(WORST):
        try:
            sample = dataset[names.index(image.name)]
        except DecodeError:
            continue
        shown, prediction = network_input(sample, results.protocol, None), predict(sample)
        depth = as_array(results.protocol.combined(prediction.depth, prediction.flipped, prediction.view)[0])
        if depth.shape == sample.depth.shape:
            depth = depth[results.protocol.input_window(*depth.shape)]
        panel = depth_panel(image.name, shown, {"prediction": depth}, results.protocol.max_depth)
        panels.append(replace(panel, caption=short_text(image.metrics)))
    return panels


def show_evaluation(model: str, results: Sequence[Evaluation], listed: str | None) -> None:
    """The table, several protocols side by side, and what should be known about them and the images.

    `listed` is what the list of images is known as, if it is.
    """
    if len(results) == 1:
        (one,) = results
        row = Row(model, one.metrics, one.protocol.fingerprint)
        title = f"{one.protocol.name} · {one.protocol.fingerprint} · {len(one.images)} images"
        display(results_table([row], f"{title} of {listed}" if listed else title))
        display(terminal_table(breakdown_lines(one)))
        if rows := published_rows(model, one):
            display(results_table(rows, "published figures on this data set"))
            display("\n".join(source_lines(one)))
    else:
        display(side_by_side(results, model))
    for one in results:
        display(f"{one.protocol.name} ({one.protocol.fingerprint}): {one.protocol.describe()}")
    for line in dict.fromkeys(remark for one in results for remark in remarks(one)):
        display(line)


def side_by_side(results: Sequence[Evaluation], title: str) -> Table:
    """A column for each protocol. Nothing is in bold: the best of numbers that do not compare means nothing."""
    columns = [["", "fingerprint", "images", "pixels", *results[0].metrics]]
    for one in results:
        *start, first, last = one.protocol.name.rsplit("_", 2)
        name = "".join(f"{part}_\n" for part in start) + f"{first}_{last}"
        counts = len(one.images), sum(image.pixels for image in one.images)
        columns.append([name, one.protocol.fingerprint, *map(str, counts), *map(metric_text, one.metrics.values())])
    return terminal_table(zip(*columns, strict=True), title, "measured differently: rows do not compare", [3])


def remarks(one: Evaluation) -> list[str]:
    """What was left out, what was repaired, and where to look first."""
    result = []
    if one.skipped:
        few = f" (fewer than {one.protocol.fewest} pixels)" if one.protocol.fewest > 1 else ""
        names = shorten(one.skipped)
        result.append(f"{len(one.skipped)} images without ground truth in range{few} were skipped: {names}")
    if one.faults:
        result.append(f"{len(one.faults)} images could not be read: {shorten(one.faults)}")
    if one.uncertainty:
        result += uncertainty_lines(one.uncertainty)
    if one.repaired:
        result.append(f"{one.repaired} predicted pixels were not finite; they count as wrong, not as missing")
    if constant := sum(image.constant for image in one.images):
        result.append(f"{constant} predictions are constant: aligned, each is one middle depth of its truth")
    if one.shapes:
        result.append(shapes_text(one.shapes))
    nearer, farther = (one.errors[i] / max(sum(one.errors), 1) for i in (0, -1))
    if max(nearer, farther) > LOST:
        side = "near" if nearer > farther else "far"
        result.append(f"{max(nearer, farther):.0%} of pixels are predicted much too {side}: {UNITS}")
    result.append(f"worst by abs_rel: {shorten(tuple(image.name for image in one.worst(3)))}")
    return result


def shapes_text(errors: dict[str, float]) -> str:
    """The errors of edges and planes in a line."""
    right, near, far = (errors[name] for name in ("dde_0", "dde_m", "dde_p"))
    return (
        f"edges {errors['dbe_acc']:.2f} px off, {errors['dbe_com']:.2f} px to the next (script {VERSION}); planes "
        f"{errors['pe_fla']:.2f} cm from flat, turned by {errors['pe_ori']:.2f} degrees; right side of 3 m "
        f"{right:.1%}, too near {near:.1%}, too far {far:.1%}"
    )


def uncertainty_lines(measured: Sparsification) -> list[str]:
    """How far uncertainty can be trusted, in numbers."""
    areas = [f"{name} AUSE {measured.ause[name]:.4f}, AURG {measured.aurg[name]:.4f}" for name in measured.ause]
    shares = [f"{share:.0%} within {times}" for times, share in zip(SIGMAS, measured.within, strict=True)]
    return [
        f"uncertainty: {'; '.join(areas)} (AUSE 0: it orders pixels as their errors do; AURG above 0: better than "
        "chance)",
        f"standard deviations: of the pixels {', '.join(shares)} (68 % and 95 % where errors are as large as it says)",
    ]


def uncertainty_section(measured: Sparsification) -> PageSection:
    """The curves of what is left as pixels are left out, and how far uncertainty can be trusted."""
    kinds = {
        "least sure first": measured.least_sure_first,
        "worst first": measured.worst_first,
        "at random": measured.at_random,
    }
    charts = []
    for name in measured.ause:
        lines = {
            kind: [(100 * i / STEPS, y) for i, y in enumerate(curves[name][:-1])] for kind, curves in kinds.items()
        }
        charts.append(line_chart(lines, title=f"{name} of the pixels that stay", x_label="% left out", size=CHART_SIZE))
    notes = table_section("", [], uncertainty_lines(measured))
    return PageSection("Does it know where it is wrong", chart_section("", charts).html + notes.html)


def shorten(names: tuple[str, ...]) -> str:
    """The first three names."""
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
