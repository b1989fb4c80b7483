import io
import re

from rich.console import Console

from distill.report import breakdown_html, breakdown_table, error_chart

PARTS = {
    "0-20 m": {"images": 2, "pixels": 300, "metrics": {"abs_rel": 0.051, "rmse": 0.9, "d1": 0.98}},
    "depth <edges>": {"images": 1, "pixels": 40, "metrics": {"abs_rel": 0.2, "rmse": 4.0}},
}


def test_the_breakdown_reads_alike_on_a_terminal_and_on_a_page():
    out = io.StringIO()
    Console(file=out, width=80).print(breakdown_table(PARTS))
    page = re.sub(r"<[^>]+>", " ", breakdown_html(PARTS)).replace("&lt;", "<").replace("&gt;", ">")
    for text in (out.getvalue(), page):
        for line in (
            ("0-20 m", "2", "300", "0.05100", "0.9000", "0.9800"),
            ("depth <edges>", "1", "40", "0.2000", "–"),
        ):
            (result,) = [one for one in re.split(r"\n|(?=depth)", text) if line[0] in one]
            assert all(cell in result for cell in line)


def bars(svg):
    return [float(height) for height in re.findall(r'<rect [^>]*height="([\d.]+)"', svg)]


def test_a_bar_is_as_high_as_its_share():
    svg = error_chart([-0.05, 0.0, 0.05], [1, 4, 2, 0], "Errors of <student>")
    heights = bars(svg)
    assert heights[1] > 0
    assert [height / heights[1] for height in heights] == [0.25, 1, 0.5, 0]
    assert "below -5%: 14.3% of pixels" in svg
    assert "-5% to +0%: 57.1% of pixels" in svg
    assert "above +5%: 0.0% of pixels" in svg
    assert "Errors of &lt;student&gt;" in svg
    assert "71% of pixels nearer than the truth" in svg


def test_a_histogram_of_nothing_can_be_drawn():
    assert bars(error_chart([0.0], [0, 0], "Errors")) == [0, 0]
