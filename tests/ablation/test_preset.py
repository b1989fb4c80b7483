from pathlib import Path

import pytest

from distill.ablation.plan import plan_runs
from distill.ablation.preset import grid_rows, load_preset
from distill.config import load_config, parse_config
from distill.errors import UserError

SHIPPED = sorted((Path(__file__).parents[2] / "configs" / "ablations").glob("*.yaml"))
KITTI = SHIPPED[0].parents[1] / "kitti" / "efficientnet_b0.yaml"


@pytest.fixture
def planned(stage):
    """planned(overrides, **keys): the runs of an ablation with these keys."""

    def plan(*overrides, **keys):
        return plan_runs(load_preset(stage.write(**keys), overrides), stage.output)

    return plan


# ---------------------------------------------------------------------------------------------------- what is planned


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_the_shipped_ablations_are_right_and_every_row_is_another_configuration(path, tmp_path):
    runs = plan_runs(load_preset(path), tmp_path)
    configs = [run.config for run in runs]
    assert len(runs) > 1
    assert all(config not in configs[:i] for i, config in enumerate(configs))


@pytest.mark.parametrize("path", [path for path in SHIPPED if path.stem != "lg_conv_cost"], ids=lambda path: path.stem)
def test_the_shipped_ablations_also_change_the_recipe_of_kitti(path, tmp_path):
    runs = plan_runs(load_preset(path, [f"base={KITTI}", "data.root=somewhere"]), tmp_path)
    assert {(run.config.data.name, run.config.data.root) for run in runs} == {("kitti", Path("somewhere"))}


@pytest.mark.parametrize("path", [path for path in SHIPPED if path.stem != "segmentation"], ids=lambda path: path.stem)
def test_the_shipped_ablations_of_depth_also_run_on_kitti_as_they_are(path, tmp_path):
    runs = plan_runs(load_preset(path, ["data.name=kitti", "data.root=somewhere"]), tmp_path)
    assert {run.config.data.name for run in runs} == {"kitti"}


def test_most_shipped_ablations_change_one_setting():
    setting = load_config(KITTI.parents[1] / "scenes.yaml")
    bases = {path.stem: parse_config(dict(load_preset(path).base), str(path)) for path in SHIPPED}
    others = ["focal", "lg_conv_cost", "methods", "pruned_dpt", "relative_teacher_nyu", "segmentation"]
    assert [name for name, base in bases.items() if base != setting] == others


def test_warm_ups_of_the_paper_take_their_share_of_the_steps(tmp_path):
    preset = load_preset(SHIPPED[0].with_name("warmup.yaml"), ["train.steps=1500"])
    rows = {run.row: run.config.warmup_steps(1500, 37) for run in plan_runs(preset, tmp_path) if run.seed == 0}
    paper = {f"warmup_epochs={epochs}": steps for epochs, steps in ((3, 180), (5, 300), (7, 420), (9, 540), (10, 600))}
    assert paper.items() <= rows.items()


def test_rows_change_the_base_and_every_seed_has_its_run(planned, stage):
    runs = planned(seeds=[3, 5])
    assert [str(run.folder.relative_to(stage.output)) for run in runs] == [
        *("plain/seed_3", "+KD/seed_3", "plain/seed_5", "+KD/seed_5")
    ]
    assert [(run.config.method.name, run.config.seed) for run in runs] == [
        *[("supervised", 3), ("feature", 3), ("supervised", 5), ("feature", 5)]
    ]
    assert {run.config.teacher.name for run in runs} == {"dpt_micro"}


def test_a_grid_is_every_combination_after_the_named_rows(planned):
    grid = {"method.name": ["disdepth"], "method.lam": [True, False], "method.kd_weight": [0.05, 1]}
    runs = planned(grid=grid, rows={"plain": {"method.name": "supervised"}})
    names = ["lam=true,kd_weight=0.05", "lam=true,kd_weight=1", "lam=false,kd_weight=0.05", "lam=false,kd_weight=1"]
    assert [run.row for run in runs] == ["plain", *names]
    assert (runs[3].config.method.lam, runs[3].config.method.kd_weight) == (False, 0.05)


def test_rows_of_a_grid_are_named_so_that_a_folder_can_be():
    rows = dict(grid_rows({"data.root": ["a/b c", None], "student.name": ["x"], "teacher.name": ["y"]}))
    assert list(rows) == ["root=a-b-c", "root=null"]
    assert rows["root=null"] == {"data.root": None, "student.name": "x", "teacher.name": "y"}
    assert next(iter(dict(grid_rows({"a.name": [1, 2], "b.name": [3, 4]})))) == "a.name=1,b.name=3"


def test_numbers_below_zero_keep_their_sign_in_a_rows_name():
    assert [name for name, _ in grid_rows({"teacher.shift": [-0.1, 0.1]})] == ["shift=-0.1", "shift=0.1"]


def test_a_row_may_change_nothing(planned):
    assert planned(rows={"base": None, "one": {"optim.lr": 1}})[0].config.optim.lr == 4e-5


def test_an_override_holds_for_every_run_and_some_are_the_ablations_own(planned):
    runs = planned("optim.lr=0.5", "seeds=[7]", "data={name: kitti, root: here}")
    assert {(run.config.optim.lr, run.config.seed, run.config.data.name) for run in runs} == {(0.5, 7, "kitti")}


def test_a_base_is_seen_from_the_ablations_file(stage, planned, monkeypatch):
    (stage.folder / "deep").mkdir()
    (stage.folder / "deep" / "base.yaml").write_text("data: {name: scenes}\noutput: elsewhere\noptim: {lr: 0.25}\n")
    monkeypatch.chdir("/")
    assert {(run.config.optim.lr, run.config.output) for run in planned(base="deep/base.yaml")} == {(0.25, None)}


def test_a_row_can_be_the_teacher_of_rows_below(planned, stage):
    rows = {"big": {"method.name": "supervised"}, "small": {"teacher.name": "row:big"}}
    big, small, _, other = planned(rows=rows, seeds=[0, 1])
    assert small.config.teacher.name == str(big.folder)
    assert (big.needs, small.needs) == ((), (big.folder,))
    assert other.config.teacher.name == str(stage.output / "big" / "seed_1")


def test_a_reference_may_stand_inside_a_section(planned):
    rows = {"big": {"method.name": "supervised"}, "small": {"teacher": {"name": "row:big"}}}
    big, small = planned(rows=rows)
    assert (small.config.teacher.name, small.needs) == (str(big.folder), (big.folder,))


# ---------------------------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (
            {"rows": {"a": {"method.kd_wait": 1}}},
            "tiny.yaml, row a: unknown key method.kd_wait, did you mean kd_weight?",
        ),
        ({"rows": {"a": {"metod.name": "fill"}}}, "row a: unknown key metod, did you mean method?"),
        ({"rows": {"a": {}, "b": {"optim.lr": -1}}}, "row b: optim.lr=-1: input should be greater than 0"),
        ({"rows": {"a": {"method.fam": False}}}, "row a: method.lam weighs acclimated features"),
        ({"rows": {"a": {"seed": 3}}}, "row a: seed is not a row's; give seeds beside the rows, and --output"),
        ({"rows": {"a": {"data.name.x": 3}}}, "data.name.x cannot be set: the configuration gives name as a whole"),
        ({"rows": {"../a": {}}}, "'../a' cannot name a row, whose folder is called so; use letters, digits, +=.,-_"),
        ({"rows": {".hidden": {}}}, "'.hidden' cannot name a row"),
        ({"rows": {"a": 3}}, "rows.a=3: input should be a valid dictionary"),
        ({"rows": {}}, "an ablation needs rows, or a grid of values by key; both are empty"),
        ({"rows": {}, "grid": {}}, "an ablation needs rows, or a grid of values by key; both are empty"),
        ({"grid": {"optim.lr": []}}, "grid.optim.lr is empty; list the values to compare"),
        (
            {"grid": {"optim.lr": [1, 1]}},
            "two rows are called lr=1; name one of them otherwise, or list its value once",
        ),
        ({"rows": {"lr=1": {}}, "grid": {"optim.lr": [1, 2]}}, "two rows are called lr=1"),
        ({"seeds": []}, "seeds must be different and at least one, got []"),
        ({"seeds": [1, 1]}, "seeds must be different and at least one, got [1, 1]"),
        ({"seeds": [-1]}, "seeds.0=-1: input should be greater than or equal to 0"),
        ({"models": ["pupil"]}, "models.0='pupil': input should be 'student', 'teacher' or 'ghost'"),
        ({"seed": 1}, "unknown key seed, did you mean seeds? (known: title, base, rows, grid, seeds, models, twins)"),
        ({"twins": {"+KD": ["plane"]}}, "twins: there is no row 'plane', did you mean plain?"),
        ({"twins": {"other": ["plain"]}}, "twins: there is no row 'other'"),
        (
            {"rows": {"a": {"train.epochs": 5, "method.warmup_epochs": 7}}},
            "the warm-up of 7 epochs is as long as the whole training of 5: nothing would be distilled",
        ),
        ({"base": "absent.yaml"}, "absent.yaml; see configs/ for examples"),
        ({"rows": {"a": {"teacher.name": "row:b"}, "b": {}}}, "row a: no row 'b' stands above it (above: none)"),
        (
            {"rows": {"big": {}, "a": {"teacher.name": "row:bigg"}}},
            "row a: no row 'bigg' stands above it, did you mean big? (above: big)",
        ),
    ],
)
def test_a_wrong_ablation_is_refused_before_anything_starts(refused, stage, keys, message):
    assert message in refused("ablate", stage.write(**keys), "--output", stage.output)
    assert stage.started() == []
    assert not stage.output.exists()


def test_two_rows_of_one_name_are_refused(refused, stage):
    path = stage.write()
    path.write_text(path.read_text() + "  plain: {}\n")
    message = refused("ablate", path)
    assert "is not valid YAML: 'plain' stands there twice; delete one of the two, or name it otherwise" in message
    lines = path.read_text().splitlines()
    assert f"line {len(lines)}," in message
    assert str(path) in message


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("optim.lrr=1", "row plain: unknown key optim.lrr, did you mean lr?"),
        ("method.name=fill", "method.name cannot be set for every run: "),
        ("seed=3", "seed cannot be set for every run; give seeds=[...] and --output"),
        ("output=there", "output cannot be set for every run; give seeds=[...] and --output"),
        ("seeds=no", "seeds="),
        ("rows={}", "unknown key rows"),
        ("base=absent.yaml", "no configuration at absent.yaml"),
    ],
)
def test_an_override_that_cannot_hold_for_every_run_is_refused(refused, stage, override, message):
    assert message in refused("ablate", stage.write(), override, "--output", stage.output)


def test_a_section_set_by_a_row_cannot_be_changed_inside_for_every_run(planned):
    rows = {"a": {"student": {"backbone": "resnet18"}}}
    with pytest.raises(UserError, match=r"student\.bins cannot be set for every run: .* row a sets student"):
        planned("student.bins=8", rows=rows)
    assert planned("student={bins: 8}", rows={"a": {"student.width": 8}})[0].config.student.bins == 8


def test_a_file_that_is_no_ablation_is_refused(refused, stage):
    assert "unknown key data" in refused("ablate", KITTI)
    assert "no configuration at nowhere.yaml" in refused("ablate", "nowhere.yaml")
    (stage.folder / "out").write_text("")
    assert "out is a file; give a folder with --output" in refused("ablate", stage.write(), "--output", stage.output)
