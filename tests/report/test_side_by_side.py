import io

from rich.console import Console

from distill.report import Column, side_by_side


def shown(table):
    out = io.StringIO()
    Console(file=out, width=80, force_terminal=True).print(table)
    return out.getvalue()


def test_every_protocol_has_a_column_with_its_facts_and_metrics():
    columns = [
        Column("kitti_eigen_garg_kb", {"fingerprint": "0123456789ab", "pixels": "11514"}, {"rmse": 1.884, "d1": 0.9}),
        Column("kitti_eigen_garg_full", {"fingerprint": "ba9876543210"}, {"rmse": 2.381, "d1": 0.8}),
    ]
    text = shown(side_by_side(columns, "runs/[b]"))
    for word in ("runs/[b]", "garg_kb", "garg_full", "0123456789ab", "ba9876543210", "11514", "–", "1.884", "2.381"):
        assert word in text
    assert "rows do not compare" in text


def test_nothing_is_best_where_protocols_differ():
    columns = [Column(name, {}, {"rmse": value}) for name, value in (("a_b", 1.0), ("c_d", 2.0))]
    (line,) = [line for line in shown(side_by_side(columns, "m")).splitlines() if "rmse" in line]
    assert "\x1b[1m" not in line
