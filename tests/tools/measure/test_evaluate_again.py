import csv
import json
import shutil

import pytest
import yaml

from distill.cli import main as distill


@pytest.fixture(scope="module")
def ablation(tool, content, tmp_path_factory):
    """An ablation of one finished run on embedded scenes, and one that was cut short."""
    root = tmp_path_factory.mktemp("again")
    scenes = {"name": "scenes", "scenes": {"train": 8, "test": 2, "size": [32, 64]}, "workers": 0}
    base = content | {"data": scenes, "method": {"name": "supervised"}}
    (root / "base.yaml").write_text(yaml.safe_dump(base))
    (root / "tiny.yaml").write_text(yaml.safe_dump({"base": base, "rows": {"plain": {}}, "seeds": [0, 1]}))
    assert distill(["train", str(root / "base.yaml"), "--output", str(root / "tiny" / "plain" / "seed_0")]) == 0
    shutil.copytree(root / "tiny" / "plain" / "seed_0", root / "tiny" / "plain" / "seed_1")
    (root / "tiny" / "plain" / "seed_1" / "done.json").unlink()
    tool.main([str(root / "tiny"), "--images", "3"])
    return root


def results(run):
    return json.loads((run / "results.json").read_text())


def test_students_of_finished_runs_are_evaluated_on_other_scenes_by_the_same_protocol(ablation):
    (former,), (fresh,) = (results(ablation / name / "plain" / "seed_0") for name in ("tiny", "tiny_fresh"))
    assert (former["images"], fresh["images"]) == (2, 3)
    assert fresh["fingerprint"] == former["fingerprint"]
    assert fresh["latency_ms"] == former["latency_ms"]
    assert fresh["metrics"]["abs_rel"] != former["metrics"]["abs_rel"]
    assert not (ablation / "tiny_fresh" / "plain" / "seed_1").exists()


def test_a_table_is_made_of_them(ablation):
    words = ["ablate", str(ablation / "tiny.yaml"), "--output", str(ablation / "tiny_fresh"), "--jobs", "0"]
    assert distill(words) == 0
    (fresh,) = results(ablation / "tiny_fresh" / "plain" / "seed_0")
    with (ablation / "tiny_fresh" / "results.csv").open() as file:
        means = {line["metric"]: float(line["mean"]) for line in csv.DictReader(file)}
    assert means["abs_rel"] == pytest.approx(fresh["metrics"]["abs_rel"])


def test_runs_on_files_cannot_be_evaluated_on_scenes(tool, ablation, finished, tmp_path):
    shutil.copytree(finished, tmp_path / "files" / "row" / "seed_0")
    with pytest.raises(SystemExit, match=r"runs on data\.name=folder need --root"):
        tool.main([str(tmp_path / "files")])
    assert not (tmp_path / "files_fresh").exists()


def test_runs_on_files_are_evaluated_on_another_folders_test_half(tool, finished, streets, tmp_path):
    shutil.copytree(finished, tmp_path / "files" / "row" / "seed_0")
    tool.main([str(tmp_path / "files"), "--root", str(streets)])
    former, fresh = (results(tmp_path / name / "row" / "seed_0") for name in ("files", "files_fresh"))
    (student,) = [one for one in former if one["role"] == "student"]
    assert fresh[0]["images"] == student["images"]


@pytest.mark.parametrize(("lost", "message"), [("student", "no student in"), ("done.json", "no finished run in")])
def test_what_is_lost_of_a_run_is_named_in_a_line(tool, ablation, tmp_path, lost, message):
    run = shutil.copytree(ablation / "tiny", tmp_path / "tiny") / "plain" / "seed_0"
    shutil.rmtree(run / lost) if lost == "student" else (run / lost).unlink()
    with pytest.raises(SystemExit, match=message):
        tool.main([str(tmp_path / "tiny"), "--images", "1"])
