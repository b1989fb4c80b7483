import os
from operator import attrgetter
from pathlib import Path

import pytest
import yaml

from distill.config import Config, dump_config, find_config, load_config, parse_config
from distill.errors import UserError


@pytest.fixture
def load(tmp_path):
    """load(content, *overrides): a configuration from YAML text or a nested mapping."""

    def read(content="data: {name: scenes}", *overrides):
        path = tmp_path / "given.yaml"
        path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
        return load_config(path, overrides)

    return read


@pytest.fixture
def refusal(load):
    """refusal(content, *overrides): the one line that refuses them."""

    def read(*options):
        with pytest.raises(UserError) as refused:
            load(*options)
        assert "\n" not in str(refused.value)
        return str(refused.value)

    return read


def test_an_almost_empty_file_has_every_default(load):
    assert load() == Config.model_validate({"data": {"name": "scenes"}})


def test_what_is_dumped_loads_to_the_same(load):
    config = load(
        {"data": {"name": "kitti", "root": "/data/kitti", "crop": [352, 704], "split": ["a.txt", "b.txt"]}},
        "method.warmup_steps=3",
        "train.precision=no",
        "student.lg_conv=true",
    )
    assert parse_config(yaml.safe_load(dump_config(config)), "dump") == config


@pytest.mark.parametrize(
    ("override", "value"),
    [
        ("optim.lr=1e-4", 1e-4),
        ("optim.lr=3.0e-4", 3e-4),
        ("optim.lr=.5", 0.5),
        ("train.steps=600", 600),
        ("train.steps=1e3", 1000),
        ("data.crop=[64, 96]", (64, 96)),
        ("data.crop=[64,96]", (64, 96)),
        ("optim.betas=[0.5, 0.99]", (0.5, 0.99)),
        ("student.lg_conv=true", True),
        ("student.lg_conv=False", False),
        ("teacher.invert=null", None),
        ("train.clip=", None),
        ("student.backbone=swin_tiny_patch4_window7_224.ms_in1k", "swin_tiny_patch4_window7_224.ms_in1k"),
        ("train.precision=no", "no"),
        ("train.steps=010", 10),
        ("student.lg_conv=yes", True),
        ("student.lg_conv=auto", "auto"),
        ("output=010", Path("010")),
    ],
)
def test_an_override_takes_every_form_of_value(load, override, value):
    key = override.partition("=")[0]
    assert attrgetter(key)(load("data: {name: scenes}", override)) == value


def test_overrides_win_over_the_file_and_later_ones_over_earlier(load):
    config = load("{data: {name: scenes}, optim: {lr: 0.1, eps: 0.2}}", "optim.lr=0.3", "optim.lr=0.4", "seed=5")
    assert (config.optim.lr, config.optim.eps, config.seed) == (0.4, 0.2, 5)


def test_an_override_reaches_three_levels_down_and_makes_missing_sections(load):
    assert load("data: {name: scenes}", "data.scenes.train=3").data.scenes.train == 3
    assert load("data:", "data.name=scenes").data.name == "scenes"


@pytest.mark.parametrize(
    ("split", "train", "test"),
    [
        ("a.txt", "a.txt", "None"),
        (["a.txt", "b.txt"], "a.txt", "b.txt"),
        ({"test": "b.txt"}, "None", "b.txt"),
        ({}, "None", "None"),
    ],
)
def test_lists_are_written_as_one_path_two_or_a_mapping(load, split, train, test):
    result = load({"data": {"name": "nyu", "root": "/data", "split": split}}).data.split
    assert (str(result.train), str(result.test)) == (train, test)


def test_an_override_does_not_drop_what_stands_in_its_way(refusal):
    message = refusal({"data": {"name": "nyu", "root": "/data", "split": "a.txt"}}, "data.split.test=b.txt")
    assert "data.split.test" in message
    assert "'a.txt'" in message


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("optim.lrr=1", "unknown key optim.lrr, did you mean lr? (known: name, lr, encoder_lr_share"),
        ("optims.lr=1", "unknown key optims, did you mean optim?"),
        ("data.scenes.siz=1", "unknown key data.scenes.siz, did you mean size?"),
        ("data.zzz=1", "unknown key data.zzz (known: name, root, split"),
        ("pretrained=false", "unknown key pretrained, did you mean student.pretrained?"),
        ("lr=1e-3", "did you mean optim.lr?"),
        ("train.lr=1e-3", "did you mean optim.lr?"),
        ("train.learning_rate=1e-3", "did you mean optim.lr?"),
        ("train.batch=4", "did you mean batch_size?"),
        ("student.bins=1", "student.bins=1: input should be greater than or equal to 2"),
        ("size=[64, 96]", "did you mean data.size or data.scenes.size?"),
        ("bacbone=resnet18", "did you mean student.backbone?"),
        ("seeds=1", "did you mean seed?"),
        ("data.size=64x96", "data.size='64x96': expected a list in brackets, such as data.size=[a, b]"),
        ("train=5", "train=5: expected a section, such as train: {epochs: ...}"),
        ("train.steps=true", "train.steps=True: expected a number, not true or false"),
        ("data.crop=[true, 64]", "data.crop.0=True: expected a number"),
        ("optim.lr=true", "optim.lr=True: expected a number"),
        ("train.steps=yes", "train.steps='yes': input should be a valid integer"),
        ("train.steps=1:30", "train.steps='1:30': input should be a valid integer"),
        ("seed=4294967296", "seed=4294967296: expected at most 4294967295"),
        ("train.epochs=1e300", "train.epochs=1e+300: expected at most"),
        ("train.batch_size=1000000000000", "train.batch_size=1000000000000: input should be less than"),
        ("data.workers=10000", "data.workers=10000: input should be less than or equal to 1024"),
        ("data.size=[16000, 16000]", "data.size.0=16000: input should be less than or equal to 8192"),
        (f"data.root=[{'x' * 5000}]", "xxx...: input is not a valid path"),
        ("optim.lr=fast", "optim.lr='fast': input should be a valid number"),
        ("optim.lr=0", "optim.lr=0: input should be greater than 0"),
        ("optim.lr=inf", "optim.lr='inf': input should be a finite number"),
        ("optim.betas=[0.9, 1.0]", "optim.betas.1=1.0: input should be less than 1"),
        ("train.steps=2.5", "train.steps=2.5: input should be a valid integer"),
        ("train.batch_size=0", "train.batch_size=0: input should be greater than 0"),
        ("data.flip=1.5", "data.flip=1.5: input should be less than or equal to 1"),
        ("data.crop=[64]", "data.crop"),
        ("data.crop=[16, 64]", "data.crop.0=16: input should be greater than or equal to 32"),
        ("data.name=kiti", "data.name='kiti': expected one of kitti, nyu, folder, ibims1"),
        ("data.split=[a, b, c]", "data.split"),
        ("student.lg_conv=maybe", "student.lg_conv='maybe': expected true, false or auto"),
        ("method.name=distil", "method.name='distil': expected one of supervised, output"),
        ("data.name=kitti", "data.root is needed for data.name=kitti: the folder of the data set"),
        ("method={name: fill, with_output: true}", "method.with_output adds the teacher's depth to feature"),
        ("method.fam=false", "method.lam weighs acclimated features and needs method.fam; set method.lam=false too"),
        ("seed", "an override must be section.key=value, got 'seed'"),
        ("=3", "an override must be section.key=value, got '=3'"),
        ("optim.lr=[1", "the value of optim.lr is not valid YAML: '[1'"),
    ],
)
def test_a_mistake_is_reported_with_its_fix(refusal, override, message):
    assert message in refusal("data: {name: scenes}", override)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("data: [", "is not valid YAML: while parsing"),
        ("- data", "must hold sections such as 'data:', got list"),
        ("", "must hold sections such as 'data:', got NoneType"),
        ("seed: 1", "data is missing"),
        ("data: {name: scenes, camera: [1, 2, 3]}", "data.camera has 3 values, expected more"),
        ("data: scenes", "data='scenes'"),
        ("data: {name: scenes}\noptim.lr: 1e-3", "unknown key optim.lr, write optim: {lr: ...}"),
        ("data: {name: !!python/object/apply:os.getcwd []}", "is not valid YAML"),
    ],
)
def test_a_file_that_is_no_configuration_is_refused_by_name(refusal, text, message):
    line = refusal(text)
    assert message in line
    assert "given.yaml" in line


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"no configuration at .*absent.yaml; see configs/"):
        load_config(tmp_path / "absent.yaml")
    with pytest.raises(UserError, match=r"is a folder without config.yaml; give a YAML file"):
        load_config(tmp_path)


@pytest.mark.parametrize("name", [".", "/", "configs"])
def test_a_folder_without_a_configuration_is_refused_whatever_its_name(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"no configuration at configs;|is a folder without config.yaml"):
        load_config(name)


def test_what_may_never_end_is_no_configuration(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "large").write_text("#" * 2**21)
    for path, reason in (("/dev/zero", "a device"), (tmp_path / "fifo", "a FIFO"), (tmp_path / "large", "bytes")):
        with pytest.raises(UserError, match=f"{path} cannot be read as a configuration: it .*{reason}"):
            load_config(path)


def test_several_mistakes_are_reported_together(refusal):
    message = refusal("data: {name: scenes}", "optim.lr=0", "seed=-1")
    assert "optim.lr=0" in message
    assert "seed=-1" in message


def test_without_acclimation_and_attention_disdepth_is_accepted(load):
    method = load("data: {name: scenes}", "method.fam=false", "method.lam=false").method
    assert not method.fam
    assert not method.lam


def test_a_key_that_stands_twice_is_refused_and_not_overwritten(refused, tmp_path):
    path = tmp_path / "twice.yaml"
    path.write_text("data: {name: scenes}\ntrain:\n  steps: 3\n  steps: 4\n")
    message = refused("train", path)
    assert message.startswith(f"{path} is not valid YAML: 'steps' stands there twice")
    assert "line 4" in message


def test_the_size_of_a_runs_images_is_known_where_they_are_resized_or_rendered():
    def size(**data):
        return parse_config({"data": data}, "here").data.input_size

    assert size(name="scenes", scenes={"size": [64, 96]}) == (64, 96)
    assert size(name="scenes", scenes={"size": [64, 96]}, size=[32, 48]) == (32, 48)
    assert size(name="kitti", root="somewhere") is None
    assert size(name="nyu", root="somewhere", size=[96, 128]) == (96, 128)


def test_a_configuration_of_the_package_is_known_by_its_name_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = ("configs/kitti/resnet18.yaml", "kitti/resnet18.yaml", "kitti/resnet18")
    assert len({find_config(Path(name)) for name in names}) == 1
    assert load_config("configs/kitti/resnet18.yaml", ["data.root=x"]).student.backbone == "resnet18"
    with pytest.raises(UserError, match=r"did you mean configs/kitti/resnet18.yaml\?"):
        load_config("configs/kitty/resnet18.yaml")
    Path("kitti").mkdir()
    Path("kitti/resnet18.yaml").write_text("data: {name: scenes}")
    assert load_config("kitti/resnet18.yaml").data.name == "scenes"  # one's own comes first


def test_a_runs_folder_stands_for_its_configuration(tmp_path):
    (tmp_path / "config.yaml").write_text("{data: {name: scenes}, seed: 7}")
    assert load_config(tmp_path).seed == 7


# --------------------------------------------------------------------------------------- what belongs to the weights

NYU = {"scale": 3.05e-4, "shift": 0.1378, "invert": True}
OF_NYU = {
    "data": {"name": "scenes"},
    "teacher": {"name": "dpt_hybrid", "checkpoint": "weights/dpt_hybrid_nyu-2ce69ec7.pt", **NYU, "compile": True},
}


@pytest.mark.parametrize(
    "override", ["teacher.name=dpt_micro", "teacher.checkpoint=mine.pt", "teacher.checkpoint=null"]
)
def test_a_conversion_does_not_survive_other_weights(load, capsys, override):
    teacher = load(OF_NYU, override, "seed=3").teacher
    assert (teacher.scale, teacher.shift, teacher.invert, teacher.compile) == (None, None, None, True)
    load(OF_NYU, override)  # an ablation does this often, and it is said once
    assert capsys.readouterr().err.count("teacher.scale, teacher.shift, teacher.invert: dropped") <= 1


@pytest.mark.parametrize(
    ("overrides", "scale"),
    [
        (["teacher.checkpoint=/elsewhere/dpt_hybrid_nyu-2ce69ec7.pt"], 3.05e-4),
        (["teacher.name=dpt_hybrid", "optim.lr=1"], 3.05e-4),
        (["teacher.checkpoint=mine.pt", "teacher.scale=2", "teacher.shift=0", "teacher.invert=true"], 2.0),
        (["teacher={name: dpt_base, scale: 5.0}"], 5.0),
    ],
)
def test_it_stays_with_the_same_weights_and_where_it_is_given_with_the_others(load, overrides, scale):
    assert load(OF_NYU, *overrides).teacher.scale == scale


def test_a_file_without_weights_is_for_any_of_its_network(load):
    open_one = {"data": {"name": "scenes"}, "teacher": {"name": "dpt_hybrid", **NYU}}
    assert load(open_one, "teacher.checkpoint=mine.pt").teacher.scale == 3.05e-4


def test_a_students_conversion_belongs_to_its_parent(load, capsys):
    pruned = {"backbone": "dpt_hybrid", "checkpoint": "dpt_hybrid_nyu.pt", **NYU}
    student = load({"data": {"name": "scenes"}, "student": pruned}, "student.backbone=dpt_micro").student
    assert (student.scale, student.invert) == (None, None)
    assert "student.scale, student.shift, student.invert: dropped" in capsys.readouterr().err
