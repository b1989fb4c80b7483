"""What a person looks at after a run: tables, depth pictures, curves, and the page that gathers them."""

from distill.report.curves import CHART_SIZE, line_chart, points_of, read_metrics, run_charts
from distill.report.dots import Marks, dot_chart
from distill.report.error_charts import breakdown_html, breakdown_table, error_chart, errors_section
from distill.report.page import chart_section, table_section, write_page
from distill.report.pictures import (
    Panel,
    Scale,
    colour_limits,
    colourise,
    colourise_error,
    colourise_weight,
    depth_scale,
    encode_jpeg,
    encode_png,
    error_scale,
    panel_strip,
    resize_to,
    scale_bar,
    weight_scale,
)
from distill.report.side_by_side import Column, side_by_side
from distill.report.tables import (
    Row,
    difference_text,
    html_table,
    markdown_table,
    metric_text,
    results_table,
    spread_text,
)

__all__ = [
    "CHART_SIZE",
    "Column",
    "Marks",
    "Panel",
    "Row",
    "Scale",
    "breakdown_html",
    "breakdown_table",
    "chart_section",
    "colour_limits",
    "colourise",
    "colourise_error",
    "colourise_weight",
    "depth_scale",
    "difference_text",
    "dot_chart",
    "encode_jpeg",
    "encode_png",
    "error_chart",
    "error_scale",
    "errors_section",
    "html_table",
    "line_chart",
    "markdown_table",
    "metric_text",
    "panel_strip",
    "points_of",
    "read_metrics",
    "resize_to",
    "results_table",
    "run_charts",
    "scale_bar",
    "side_by_side",
    "spread_text",
    "table_section",
    "weight_scale",
    "write_page",
]
