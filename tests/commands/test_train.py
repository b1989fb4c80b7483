import math
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml
from run_files import SHORT, last_state, read_json, records
from safetensors import safe_open

import distill
from distill.ablation.preset import load_preset
from distill.assembly.datasets import build_data
from distill.assembly.networks import build_method, build_student, build_teacher, check_method
from distill.assembly.preflight import advise_networks
from distill.assembly.validation import Validation
from distill.cli import main
from distill.commands import train as command
from distill.config import load_config
from distill.config.loading import SHIPPED
from distill.errors import UserError
from distill.method import LOSSES, DepthPull
from students import CNNStudent, create_student


def test_a_run_leaves_everything_it_promises_and_no_more(finished, config_file):
    names = {path.name for path in finished.iterdir() if not path.name.startswith("events.")}
    assert names == {
        *("config.yaml", "metrics.jsonl", "checkpoints", "student", "report.html", "results.json", "done.json")
    }
    assert len(list(finished.glob("events.*"))) == 1
    student = {path.name for path in (finished / "student").iterdir()}
    assert student == {"model.safetensors", "config.json", "README.md"}
    assert [path.name for path in (finished / "checkpoints").iterdir()] == ["step-000000004"]
    assert not list(finished.rglob("*.part"))


def test_the_saved_configuration_makes_the_same_run(finished, config_file):
    inputs = load_config(config_file, [f"output={finished}"])
    assert load_config(finished / "config.yaml") == inputs


def test_a_resolved_configuration_can_be_printed_without_a_run(config_file, finished, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["train", str(config_file), "optim.lr=0.5", "--print-config"]) == 0
    printed = yaml.safe_load(capsys.readouterr().out)
    saved = yaml.safe_load((finished / "config.yaml").read_text())
    assert printed == {**saved, "output": "runs/tiny", "optim": {**saved["optim"], "lr": 0.5}}
    assert list(tmp_path.iterdir()) == []


def test_a_run_shows_at_its_start_what_it_does_and_at_its_end_which_step_was_kept(finished):
    shown = finished.with_name("log").read_text()
    begins = shown[: shown.index("step 2:")]  # before the first validation
    for part in (
        "precision no",
        "test_efficientnet, ",
        "GFLOPs at 32x64",
        "disdepth, teacher dpt_micro",
        "8 training images of 32x64, 2 to validate on",
        "4, 4 images each",
        str(finished),
    ):
        assert part in begins
    best = read_json(finished / "done.json")["best_step"]
    assert f"kept: the student of step {best} of 4, whose abs_rel was the lowest" in shown
    assert "teacher dpt_micro: abs_rel" in shown


def test_every_step_and_validation_is_recorded(finished):
    assert [(record["kind"], record["step"]) for record in records(finished)] == [
        *[("train", 1), ("train", 2), ("val", 2), ("train", 3), ("train", 4), ("val", 4)]
    ]
    assert all(
        math.isfinite(value) for record in records(finished) for value in record.values() if value != record["kind"]
    )


def test_a_distillation_that_overwhelms_the_task_is_reported_once(train, capsys):
    train("method.kd_weight=1e6", "method.warmup_steps=0", "train.steps=2")
    message = capsys.readouterr().err
    for stride in (4, 8, 16, 32):
        assert len(re.findall(rf"distillation pulls \d+ times as hard as the task at stride {stride};", message)) == 1


def test_keys_that_no_network_reads_are_reported(config_file, finished):
    words = [f"teacher.name={finished}", "teacher.checkpoint=other.pt", "student.lg_scope=late"]
    teacher, scope = advise_networks(load_config(config_file, words))
    assert teacher == f"teacher.checkpoint: not read, as the folder {finished} says it all"
    assert scope == "student.lg_scope: not read, as student.lg_conv is not true"
    assert advise_networks(load_config(config_file, ["student.lg_scope=late", "student.lg_conv=true"])) == []
    assert advise_networks(load_config(config_file, [*words[:2], "method.name=supervised"])) == []


@pytest.mark.parametrize(
    ("words", "way"),
    [
        (["method.gradient_weight=0.5", "method.name=supervised"], "choose method.name=output"),
        (["method.trim=0.1"], "set method.with_output=true"),
        (["method.output_weight=2", "method.name=fill"], "choose method.name=output"),
    ],
)
def test_what_is_to_be_learnt_of_a_teachers_depth_and_is_not_is_refused(config_file, words, way):
    key = words[0].partition("=")[0]
    with pytest.raises(UserError, match=f"{key}=.* is not read by method.name=.*leave it out, or {way}"):
        check_method(load_config(config_file, words))


def test_shipped_configurations_and_ablations_set_nothing_that_is_not_read():
    shipped = SHIPPED[0]
    configs = [load_config(path) for path in sorted(shipped.rglob("*.yaml")) if path.parent.name != "ablations"]
    for preset in map(load_preset, sorted((shipped / "ablations").glob("*.yaml"))):
        configs += [preset.config(row, 0, dict.fromkeys(preset.rows, Path("run"))) for row in preset.rows]
    for config in configs:
        check_method(config)


def test_results_hold_teacher_student_and_ghost_by_one_protocol(finished):
    teacher, student, ghost = read_json(finished / "results.json")
    assert [one["role"] for one in (teacher, student, ghost)] == ["teacher", "student", "ghost"]
    assert teacher["name"] == "teacher dpt_micro"
    assert student["name"] == "student test_efficientnet"
    assert teacher["fingerprint"] == student["fingerprint"] == ghost["fingerprint"]
    assert teacher["images"] == student["images"] == 2
    assert teacher["parameters"] > 10 * student["parameters"]
    assert teacher["gflops"] > student["gflops"] > 0
    assert student["latency_ms"] > 0
    assert "parameters" not in ghost


def test_the_report_is_one_page_that_needs_no_other_file(finished):
    page = (finished / "report.html").read_text()
    assert "test_efficientnet" in page
    assert "Relative error of the student" in page
    assert 'src="http' not in page
    assert "<script src" not in page


def test_the_report_shows_some_test_images_and_the_worst_by_every_network(train):
    page = (train("eval.pictures=1", SHORT) / "report.html").read_text()
    for part in ("Pictures", "Worst images", "teacher", "ghost", "error of student", "importance (LAM)"):
        assert part in page
    assert page.count("<img") > 10


def test_the_student_leaves_without_its_teacher(finished, weights):
    assert {key.partition(".")[0] for key in weights(finished)} == {"encoder", "decoder"}
    alone = create_student("test_efficientnet", pretrained=False, width=8, bins=8)
    assert weights(finished).keys() == alone.state_dict().keys()


def test_the_teacher_is_not_in_the_checkpoint(finished, micro_weights):
    state = last_state(finished)
    assert {key.partition(".")[0] for key in state["module"]} == {"student", "fam", "lam"}
    with safe_open(micro_weights, "pt") as file:
        teacher = {tuple(file.get_slice(key).get_shape()) for key in file.keys() if "vit.blocks" in key}  # noqa: SIM118
    learnt = {tuple(value.shape) for entry in state["optimizer"]["state"].values() for value in entry.values()}
    assert len(state["optimizer"]["state"]) == sum(1 for _ in run_parameters(state))
    assert (480, 160) in teacher  # a matrix of its attention
    assert (480, 160) not in learnt


def run_parameters(state):
    """Names of what learns in a checkpoint: everything but the statistics of BatchNorm."""
    statistics = ("running_mean", "running_var", "num_batches_tracked")
    return (key for key in state["module"] if not key.endswith(statistics))


@pytest.mark.parametrize("place", ["", "student"])
def test_a_trained_model_is_loaded_from_either_folder(finished, place):
    model = distill.load_model(finished / place)
    assert not model.training
    depth = model(torch.rand(2, 3, 45, 70))
    assert depth.shape == (2, 1, 45, 70)
    assert (depth > 0).all()
    assert (depth <= 80).all()


def test_the_student_is_the_best_by_abs_rel_and_nan_is_never_best(train, weights, assert_same, monkeypatch):
    scores = iter([math.nan, 3.0, 1.0, math.nan, 2.0, 1.0])
    seen = []

    def evaluate(self, interrupted):
        seen.append({key: value.clone() for key, value in self.method.student.state_dict().items()})
        metrics = {"abs_rel": next(scores), "rmse": 0.0, "d1": 0.0}
        protocol = SimpleNamespace(name="made up", fingerprint="0")
        return SimpleNamespace(metrics=metrics, images=[None], protocol=protocol)

    monkeypatch.setattr(Validation, "evaluate", evaluate)
    folder = train("method.name=supervised", "train.steps=6", "train.validate_every=1")
    assert_same(weights(folder), seen[2])
    assert read_json(folder / "done.json")["best_step"] == 3
    assert read_json(folder / "student" / "config.json")["metadata"]["step"] == 3


@pytest.mark.parametrize(
    "method",
    [
        ["method.name=supervised"],
        ["method.name=output", "method.loss=eigen"],
        ["method.name=fill"],
        ["method.name=feature"],
        ["method.name=disdepth", "method.lam=false"],
        ["method.name=disdepth", "method.fam=false", "method.lam=false"],
    ],
    ids=lambda words: " ".join(words),
)
def test_every_method_trains_and_moves_the_weights(trained, finished, weights, method):
    folder = trained(*method)
    records_of_training = [record for record in records(folder) if record["kind"] == "train"]
    assert [math.isfinite(record["loss"]) for record in records_of_training] == [True] * 4
    one, other = weights(folder), weights(finished)
    assert any(not torch.equal(one[key], other[key]) for key in one)
    teacher = [] if method == ["method.name=supervised"] else ["teacher"]
    ghost = ["ghost"] if method == ["method.name=disdepth", "method.lam=false"] else []
    assert [one["role"] for one in read_json(folder / "results.json")] == [*teacher, "student", *ghost]


def test_features_are_distilled_from_the_end_of_the_warm_up_on(train):
    folder = train("method.warmup_steps=1", "train.steps=3", "train.validate_every=3")
    assert ["kd" in record for record in records(folder) if record["kind"] == "train"] == [False, True, True]


def test_what_a_configuration_sets_of_a_method_reaches_it(config_file):
    message = ["method.kd_weight=0.3", "method.kd_normalise=true", "method.window=3", "method.output_weight=0.7"]
    message += ["method.gradient_weight=0.5", "method.trim=0.1"]
    built = {}
    for name in ("feature", "disdepth", "output"):
        config = load_config(config_file, [*message, f"method.name={name}", "method.loss=eigen"])
        student, teacher = build_student(config, 80.0), build_teacher(config)
        built[name] = build_method(config, student, teacher, warmup_steps=5)
    for name in ("feature", "disdepth"):
        method = built[name]
        assert (method.kd_weight, method.kd_normalise, method.warmup_steps) == (0.3, True, 5)
    assert built["disdepth"].fam[0].attention.window == 3
    assert built["output"].pull == DepthPull(0.7, 0.5, 0.1)
    assert built["feature"].depth_pull is None
    config = load_config(config_file, [*message, "method.name=feature", "method.with_output=true"])
    assert build_method(config, build_student(config, 80.0), build_teacher(config)).depth_pull == built["output"].pull
    assert {method.task_loss for method in built.values()} == {LOSSES["eigen"]}


def test_what_is_probably_not_meant_is_reported_before_the_first_step(train, capsys):
    train("train.batch_size=16", "method.name=supervised", SHORT)
    assert "train.batch_size=16 exceeds the 8 training images: steps repeat some" in capsys.readouterr().err


def test_a_compiled_teacher_is_asked_in_place_of_the_plain_one(train, finished, weights, assert_same, monkeypatch):
    asked = []

    def compiled(call, **options):
        return lambda image: asked.append(image.shape) or call(image)

    monkeypatch.setattr(torch, "compile", compiled)
    assert_same(weights(train("teacher.compile=true")), weights(finished))
    assert len(asked) >= 4


@pytest.mark.parametrize("method", ["disdepth", "output"])
def test_a_trained_model_can_be_the_teacher(train, finished, method):
    words = [
        f"method.name={method}",
        "method.warmup_steps=0",
        "data.labelled=5",
        "train.steps=2",
    ]  # its depth is the others' truth
    folder = train(f"teacher.name={finished}", *words)
    assert all(record["kd"] > 0 for record in records(folder) if record["kind"] == "train")
    assert read_json(folder / "results.json")[0]["name"] == "teacher run"
    taught_by = read_json(folder / "results.json")[0]["metrics"]["abs_rel"]
    assert taught_by == pytest.approx(read_json(finished / "results.json")[1]["metrics"]["abs_rel"], rel=1e-4)


@pytest.mark.parametrize(
    "path", sorted((Path(__file__).parents[2] / "configs" / "teachers").glob("*.yaml")), ids=lambda path: path.stem
)
def test_every_shipped_teacher_is_a_student_on_the_decoder_of_the_others(path):
    config = load_config(path)
    with torch.device("meta"):
        student = create_student(config.student.backbone, pretrained=False)
    assert config.method.name == "supervised"
    assert isinstance(student, CNNStudent)
    assert sum(p.numel() for p in student.parameters()) > 30e6


def test_a_trained_students_decoder_can_be_the_ghost(train, finished):
    folder = train(f"method.ghost={finished}", SHORT)
    assert records(folder)[0]["task"] == pytest.approx(records(finished)[0]["task"])
    assert records(folder)[0]["ghost"] != pytest.approx(records(finished)[0]["ghost"], rel=0.01)


def test_embedded_scenes_need_no_files(train):
    scenes = "data.scenes={kind: room, train: 4, test: 1, size: [32, 64]}"
    folder = train("data.name=scenes", "data.root=null", scenes, SHORT, "method.name=supervised")
    assert read_json(folder / "results.json")[0]["protocol"] == "scenes_room"


def test_images_without_ground_truth_are_distilled(train, own_streets):
    shutil.rmtree(own_streets / "depth")
    for part in ("train", "test"):
        (own_streets / f"{part}_files_with_gt.txt").unlink()
    folder = train(f"data.root={own_streets}", "method.warmup_steps=0", SHORT)
    assert all(record["kd"] > 0 and math.isfinite(record["loss"]) for record in records(folder))
    assert [one["role"] for one in read_json(folder / "results.json")] == ["agreement"]
    assert read_json(folder / "student" / "config.json")["metadata"]["step"] == 1
    distill.load_model(folder)


def test_what_is_not_labelled_is_left_out_without_a_teacher_and_taught_with_one(config_file):
    sizes, labelled = {}, {}
    for method in ("supervised", "disdepth"):
        config = load_config(config_file, ["data.labelled=3", f"method.name={method}"])
        data = build_data(config)
        sizes[method] = len(data.train)
        labelled[method] = sum(bool(data.train[(0, i)].valid.any()) for i in range(len(data.train)))
    assert sizes == {"supervised": 3, "disdepth": 8}
    assert labelled == {"supervised": 3, "disdepth": 3}


def test_a_batch_in_portions_trains(train):
    folder = train("train.micro_batch=1", "train.clip=0.5", "method.warmup_steps=0", SHORT)
    assert read_json(folder / "done.json")["step"] == 1


def test_half_precision_trains(train, weights, other_precision):
    folder = train("train.precision=bf16", "method.warmup_steps=0", SHORT)
    assert all(torch.isfinite(value).all() for value in weights(folder).values())


def test_lost_steps_and_images_are_reported_at_the_end(capsys):
    command.report_losses(command.TrainState(skipped=2, faults={"b.png", "a.png"}))
    message = capsys.readouterr().err
    assert "2 training images could not be read, others took their place; the first: a.png, b.png" in message
    assert "2 steps had no finite loss and gradient and changed nothing" in message
    command.report_losses(command.TrainState())
    assert capsys.readouterr().err == ""
