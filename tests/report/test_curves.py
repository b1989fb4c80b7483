import json
import xml.etree.ElementTree as ET

import pytest

from distill.report.curves import points_of, read_metrics, run_charts


def texts(svg):
    return [element.text for element in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]


def test_a_torn_last_line_is_ignored(tmp_path, recwarn):
    path = tmp_path / "metrics.jsonl"
    records = [{"kind": "train", "step": 1, "loss": 0.5}, {"kind": "val", "step": 2, "name": "a\u2028b"}]
    lines = [json.dumps(record, ensure_ascii=False) for record in records]
    path.write_text("\n".join([*lines, '{"kind": "tra']), encoding="utf-8")
    assert read_metrics(path) == records
    assert not recwarn


def test_a_torn_line_elsewhere_is_reported(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"ste{"step": 2}\n[3]\n\n{"step": 4}\n')
    with pytest.warns(UserWarning, match="is no JSON object") as caught:
        records = read_metrics(path)
    assert records == [{"step": 1}, {"step": 4}]
    assert [str(warning.message).split(" is ")[0][-6:] for warning in caught] == ["line 2", "line 3"]


def test_what_a_resumed_run_repeats_counts_once():
    records = [{"kind": "train", "step": step, "loss": loss} for step, loss in ((1, 9), (3, 8), (2, 7), (3, 6))]
    records += [{"kind": "val", "step": 2, "loss": 5}, {"kind": "train", "loss": 4}]
    records += [{"kind": "train", "step": 5, "loss": value} for value in ("x", True, None)]
    assert points_of(records, "train", "loss") == [(1, 9), (2, 7), (3, 6)]


def test_a_run_is_charted_as_far_as_it_was_recorded():
    train = {"loss": 2.0, "task": 1.0, "kd": 0.5, "lr": 1e-4, "lam_entropy_16": 0.9, "lam_entropy_4": 1.0}
    records = [{"kind": "train", **train, "step": step} for step in (1, 2)]
    titles = [texts(chart)[0] for chart in run_charts(records)]
    assert titles == ["Training losses", "Distillation loss", "LAM entropy (1: all positions alike)", "Learning rate"]
    assert [text for text in texts(run_charts(records)[2]) if "stride" in text] == ["stride 4 1", "stride 16 0.9"]
    assert len(run_charts([*records, {"kind": "val", "step": 2, "abs_rel": 0.1, "rmse": 3.0, "d1": 0.9}])) == 7
    assert run_charts([]) == []
