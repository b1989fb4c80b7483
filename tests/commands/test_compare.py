"""`distill compare`: who wins, by how much, and what does not compare."""

import io
import json

import numpy as np
import pytest

from distill.cli import main
from distill.evaluation import LOWER_IS_BETTER, MEASURES
from distill.evaluation.segmentation import Segmentation, class_protocol


@pytest.fixture
def results(tmp_path):
    """results(name, {image: its value of every metric}, **keys): a file as `distill evaluate --json` writes it."""

    def write(name, values, **keys):
        images = [{"name": image, "pixels": 9, **dict.fromkeys(MEASURES, value)} for image, value in values.items()]
        mean = sum(values.values()) / max(len(values), 1)
        entry = {"protocol": "folder", "fingerprint": "f", "metrics": dict.fromkeys(MEASURES, mean)}
        path = tmp_path / name
        path.write_text(json.dumps(entry | {"per_image": images} | keys))
        return path

    return write


@pytest.fixture
def compared(capsys, monkeypatch):
    """compared(A, B): the lines of the table by metric, and everything that was printed."""
    monkeypatch.setenv("COLUMNS", "120")

    def run(a, b):
        assert main(["compare", str(a), str(b)]) == 0
        message = capsys.readouterr().out
        lines = [[cell.strip() for cell in line.split("│")[1:-1]] for line in message.splitlines() if "│" in line]
        return {line[0].split()[0]: line[1:] for line in lines}, message

    return run


def test_the_lower_error_and_the_higher_accuracy_win(results, compared):
    a = results("a.json", {"x": 0.5, "y": 0.7, "z": 0.9})
    b = results("b.json", {"z": 0.8, "y": 0.6, "x": 0.4})
    lines, message = compared(a, b)
    assert lines["rmse"] == ["0.7000", "0.6000", "−0.1000 [−0.1000, −0.1000]", "B"]
    assert {metric for metric, line in lines.items() if line[-1] == "B"} == set(LOWER_IS_BETTER)
    assert {metric for metric, line in lines.items() if line[-1] == "A"} == {"d1", "d2", "d3"}
    assert "folder · f · 3 images" in message
    assert f"A: {a}" in message


@pytest.fixture
def of_classes(tmp_path):
    """of_classes(name, right of 10 pixels by image, tta): a file of a model of two classes."""

    def write(name, right, tta="none"):
        whole = Segmentation(class_protocol("ade20k", ("a", "b"), tta))
        for image, count in right.items():
            truth = np.arange(10)[None] % 2
            whole.add(image, np.where(np.arange(10) < count, truth, 1 - truth), truth, 1)
        (tmp_path / name).write_text(json.dumps(whole.as_dict()))
        return tmp_path / name

    return write


def test_models_of_classes_are_compared_by_the_means_over_images(of_classes, compared):
    a, b = of_classes("a.json", {"x": 6, "y": 8}), of_classes("b.json", {"y": 10, "x": 9})
    lines, message = compared(a, b)
    assert list(lines) == ["miou", "pixel_accuracy"]
    assert lines["pixel_accuracy"][:2] + lines["pixel_accuracy"][3:] == ["0.7000", "0.9500", "B"]
    assert lines["pixel_accuracy"][2].startswith("+0.25")
    assert lines["miou"][-1] == "B"
    assert "over all pixels of A and of B: miou 0.5385 and 0.9045, pixel_accuracy 0.7000 and 0.9500" in message


def test_classes_with_and_without_the_mirrored_image_do_not_compare(of_classes, refused):
    message = refused("compare", of_classes("a.json", {"x": 6}), of_classes("b.json", {"x": 6}, "flip"))
    assert "their metrics do not compare" in message


def test_results_are_shown_in_any_encoding(results, monkeypatch):
    screen = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr("sys.stdout", screen)
    a = results("a.json", {"\u0444\u043e\u0442\u043e": 0.5})
    assert main(["compare", str(a), str(a)]) == 0
    assert b"rmse" in screen.buffer.getvalue()


def test_nobody_wins_where_the_interval_holds_0(results, compared):
    lines, _ = compared(results("a.json", {"x": 1.0, "y": 2.0}), results("b.json", {"x": 2.0, "y": 1.1}))
    assert {line[-1] for line in lines.values()} == {"–"}
    lines, _ = compared(results("a.json", {"x": 1.0}), results("b.json", {"x": 2.0}))
    assert lines["rmse"] == ["1.000", "2.000", "+1.000", "–"]


def test_images_are_paired_by_name_and_the_missing_ones_counted(results, compared):
    a = results("a.json", {"x": 1.0, "y": 2.0, "only a": 900.0})
    b = results("b.json", {"y": 2.5, "x": 1.5, "only b": 0.0, "only b too": 0.0})
    lines, message = compared(a, b)
    assert lines["rmse"][:3] == ["1.500", "2.000", "+0.5000 [+0.5000, +0.5000]"]
    assert "left out: 1 images only in A, 2 only in B" in message


def test_a_run_stands_for_its_student(finished, compared):
    lines, _ = compared(finished, finished / "results.json")
    student = json.loads((finished / "results.json").read_text())[1]
    assert student["name"] == "student test_efficientnet"
    assert float(lines["rmse"][0]) == pytest.approx(student["metrics"]["rmse"], rel=1e-3)
    assert lines["rmse"][2].startswith("+0")
    assert lines["rmse"][-1] == "–"


def test_of_several_protocols_those_in_both_files_are_compared(results, compared, tmp_path):
    one, other = (json.loads(results(name, {"x": 1.0, "y": 2.0}, fingerprint=name).read_text()) for name in "fg")
    (tmp_path / "all.json").write_text(json.dumps([one, other]))
    _, message = compared(tmp_path / "all.json", results("a.json", {"x": 1.0, "y": 3.0}, fingerprint="g"))
    assert "folder · g · 2 images" in message
    assert "folder · f" not in message


@pytest.fixture
def of_sets(results, tmp_path):
    """of_sets(name, {protocol: {image: value}}): a file as `distill evaluate --zero-shot --json` writes it."""

    def write(name, sets):
        files = (results(name, values, protocol=one, fingerprint=one) for one, values in sets.items())
        entries = [json.loads(file.read_text()) for file in files]
        (tmp_path / name).write_text(json.dumps(entries))
        return tmp_path / name

    return write


def test_several_data_sets_stand_in_one_table_and_count_alike(of_sets, compared):
    a = {"ibims1": {"x": 1.0, "y": 1.0}, "eth3d": dict.fromkeys("pqrs", 3.0), "tum": {"x": 1.0}}
    b = {"ibims1": {"x": 0.5, "y": 0.5}, "eth3d": dict.fromkeys("pqrs", 2.0)}
    lines, message = compared(of_sets("a.json", a), of_sets("b.json", b))
    assert lines["ibims1"] == ["2", "1.000", "0.5000", "−0.5000 [−0.5000, −0.5000]", "B"]
    assert lines["eth3d"][:3] == ["4", "3.000", "2.000"]
    assert lines["rmse"] == ["2.000", "1.250", "−0.7500 [−0.7500, −0.7500]", "B"]
    assert "left out, as only in A: tum" in message


def test_one_data_set_at_two_roots_is_refused(of_sets, refused, tmp_path):
    path = of_sets("a.json", {"ibims1": {"x": 1.0}, "tum": {"x": 1.0}})
    (tmp_path / "twice.json").write_text(json.dumps(json.loads(path.read_text()) * 2))
    assert "several results of ibims1" in refused("compare", path, tmp_path / "twice.json")


def test_results_of_two_protocols_are_refused(refused, results):
    a, b = results("a.json", {"x": 1.0}), results("b.json", {"x": 1.0}, protocol="nyu_eigen", fingerprint="g")
    assert refused("compare", a, b) == (
        f"{a} was measured by folder (f), {b} by nyu_eigen (g): their metrics do not compare. "
        "Evaluate both by one protocol"
    )


def test_results_on_other_images_are_refused(refused, results):
    message = refused("compare", results("a.json", {"x": 1.0}), results("b.json", {"y": 1.0}))
    assert "share no image; give two results on one data set" in message


@pytest.mark.parametrize(("key", "values"), [("pixels", (11514, 3201)), ("truth", (14.25, 14.2))])
def test_results_on_two_ground_truths_are_refused(refused, results, key, values):
    """Such as annotated depth and single scans, or depth of another scale, under one protocol."""
    first, second = (results(f"{name}.json", {"x": 1.0, "y": 2.0}) for name in "ab")
    for path, value in zip((first, second), values, strict=True):
        entry = json.loads(path.read_text())
        entry["per_image"][1][key] = value
        path.write_text(json.dumps(entry))
    message = refused("compare", first, second)
    assert "1 of 2 images were measured on two ground truths, such as y" in message
    assert "11514 and 3201" in message or key == "truth"


def test_a_truth_that_differs_by_rounding_or_is_not_stated_compares(results, compared):
    first, second, old = (results(f"{name}.json", {"x": 1.0}) for name in "abc")
    for path, mean in ((first, 14.25), (second, 14.25 + 1e-6)):
        entry = json.loads(path.read_text())
        entry["per_image"][0]["truth"] = mean
        path.write_text(json.dumps(entry))
    assert compared(first, second)[0]
    assert compared(first, old)[0]


@pytest.mark.parametrize("content", ["", "{}", "[3]", '"text"', '{"protocol": 1, "fingerprint": 2}', "\xff"])
def test_a_file_that_holds_no_results_is_refused(refused, results, tmp_path, content):
    (tmp_path / "b.json").write_text(content, encoding="latin-1")
    message = refused("compare", results("a.json", {"x": 1.0}), tmp_path / "b.json")
    assert message == f"{tmp_path / 'b.json'} is not a file of results; write one with distill evaluate --json FILE"


def test_a_file_that_does_not_exist_is_refused(refused, results, tmp_path):
    message = refused("compare", results("a.json", {"x": 1.0}), tmp_path / "none.json")
    assert message == f"no results at {tmp_path / 'none.json'}; write them with distill evaluate --json FILE"


def test_a_run_in_which_nothing_was_evaluated_is_refused(refused, results, tmp_path):
    (tmp_path / "b.json").write_text("[]")
    assert "b.json holds no results: nothing was evaluated" in refused(
        "compare", results("a.json", {"x": 1.0}), tmp_path / "b.json"
    )
