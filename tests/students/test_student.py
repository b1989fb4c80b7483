"""A student's folder, at home and on the Hub, with its card; and the parts that do not learn."""

import json
import multiprocessing
import re
import shutil
import sys
from copy import deepcopy

import huggingface_hub
import pytest
import timm
import torch
import yaml
from safetensors.torch import load_file, save_file

from distill.data import DATA_SETS
from distill.method import LOSSES, RELATIVE_LOSSES
from students import CNNStudent, Student, create_student, load_student, save_student
from students.card import LICENCES, METHODS, model_card
from students.recipe import SCALE_FREE_LOSS, read_config


@pytest.fixture
def student(make_student):
    return make_student("test_resnet", lg_conv=True)


@pytest.fixture(scope="module")
def saved(make_student, tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved") / "student"
    save_student(make_student("test_resnet", lg_conv=True), folder, {"trained_on": "scenes"})
    return folder


@pytest.fixture
def folder(saved, tmp_path):
    """The student above in a folder that a test may change."""
    return shutil.copytree(saved, tmp_path / "student")


def refusal(folder):
    with pytest.raises(ValueError, match=r".") as refused:
        load_student(folder)
    return str(refused.value)


def test_a_run_folder_and_its_student_folder_load_alike(student, folder, images):
    image = images(32, 32)
    assert torch.equal(load_student(folder)(image), load_student(folder.parent)(image))


def test_a_loaded_student_is_in_eval_mode_and_can_go_on_learning(student, folder, images):
    loaded = load_student(folder)
    assert not any(m.training for m in loaded.modules())
    loaded.train()(images(64, 64)).mean().backward()
    assert all(p.grad is not None for p in loaded.parameters())


def test_the_configuration_is_readable(folder):
    config = json.loads((folder / "config.json").read_text())
    assert config == {
        "format": 1,
        "student": "test_resnet",
        "options": {"lg_conv": True, "lg_scope": "3x3", "min_depth": 0.5, "max_depth": 10.0}
        | {"decoder": "paper", "width": 16, "bins": 8},
        "metadata": {"trained_on": "scenes"},
    }


def test_saving_keeps_the_student_and_its_device_and_mode(student, tmp_path):
    student.train()
    before = {k: v.clone() for k, v in student.state_dict().items()}
    save_student(student, tmp_path)
    assert student.training
    assert all(torch.equal(v, before[k]) for k, v in student.state_dict().items())


def test_a_channels_last_student_is_saved_like_any_other(student, tmp_path, images):
    expected = student(images(32, 32))
    save_student(student.to(memory_format=torch.channels_last), tmp_path)
    torch.testing.assert_close(load_student(tmp_path)(images(32, 32)), expected)


def test_a_later_save_replaces_an_earlier_one(student, folder, images):
    with torch.no_grad():
        student.decoder.head.scores.bias.copy_(torch.arange(8.0))
    save_student(student, folder)
    assert torch.equal(load_student(folder)(images(32, 32)), student(images(32, 32)))


def test_a_save_that_fails_leaves_the_earlier_one(student, folder, images):
    expected = student(images(32, 32))
    with pytest.raises(TypeError, match="not JSON serializable"):
        save_student(student, folder, {"when": object()})
    assert torch.equal(load_student(folder)(images(32, 32)), expected)
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "config.json", "model.safetensors"]


def test_loading_needs_no_network(folder, monkeypatch):
    create = timm.create_model

    def checked(*args, pretrained, **options):
        assert not pretrained
        return create(*args, pretrained=pretrained, **options)

    monkeypatch.setattr(timm, "create_model", checked)
    load_student(folder)


# ------------------------------------------------------------------------------------------------------------- refusals


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=f"no student in {tmp_path}/none: expected model.safetensors and config"
    ):
        load_student(tmp_path / "none")


@pytest.mark.parametrize("missing", ["model.safetensors", "config.json"])
def test_a_folder_with_one_of_the_two_files_holds_no_student(folder, missing):
    (folder / missing).unlink()
    with pytest.raises(FileNotFoundError, match=r"no student in .*: expected model\.safetensors and config\.json"):
        load_student(folder)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_weights_that_were_cut_short_are_refused(folder, share):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    assert refusal(folder).startswith(f"{path} is not a readable checkpoint")


def test_weights_of_another_student_are_refused(make_student, folder, tmp_path):
    save_student(make_student("test_efficientnet"), tmp_path / "other")
    (folder / "model.safetensors").write_bytes((tmp_path / "other/model.safetensors").read_bytes())
    message = refusal(folder)
    assert "model.safetensors does not fit its config.json: " in message
    assert "missing, such as decoder.up.0.convs.0.0.weight" not in message  # both have it, of another shape
    assert re.search(r"another shape, such as decoder\.\S+: expected \(\d.*got \(\d", message)


@pytest.mark.parametrize(
    "content",
    [
        *("", "{", "[]", "3", "{}", '{"student": "test_resnet"}', '{"student": 3, "options": {}}'),
        '{"student": "test_resnet", "options": []}',
        '{"architectures": ["ResNetForImageClassification"], "model_type": "resnet"}',
    ],
)
def test_the_configuration_of_something_else_is_refused(folder, content):
    (folder / "config.json").write_text(content)
    assert refusal(folder) == (
        f"{folder}/config.json is not a student's configuration; write it again with save_student"
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [({"student": "resnet19"}, "timm has no model named 'resnet19'"), ({"options": {"layers": 3}}, "its options are")],
)
def test_a_configuration_with_unknown_parts_is_refused(folder, change, message):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    assert message in refusal(folder)


def changed_config(folder, change):
    """The file with one value of it, by its dotted key, replaced."""
    config = json.loads((folder / "config.json").read_text())
    key, value = change
    *parents, last = key.split(".")
    place = config
    for parent in parents:
        place = place[parent]
    place[last] = value
    (folder / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *[("options.width", value) for value in ("8", None, 8.0, [8], True, 0, -1, 10**9, 10**400)],
        *[("options.bins", value) for value in (8.0, 10**9)],
        *[("options.max_depth", value) for value in (None, "80", float("nan"), float("inf"), 1e300)],
        *[("options.lg_conv", value) for value in (1, "yes")],
        *[("options.checkpoint", value) for value in ("/etc/passwd", None)],
        *[("metadata", value) for value in ([], "scenes", 3)],
        *[("metadata.input_size", value) for value in ([64], [0, 0], "64x64", [64, 64.5], [10**9, 64], [64, 64, 3])],
        *[("metadata.data", value) for value in (3, ["kitti"])],
        ("format", 2),
        ("surprise", 1),
    ],
)
def test_a_value_that_no_student_has_is_refused_by_its_key(folder, key, value):
    changed_config(folder, (key, value))
    message = refusal(folder)
    assert "config.json: " in message
    assert key.rpartition(".")[2] in message


@pytest.mark.parametrize("key", ["metadata", "metadata.input_size", "metadata.teacher"])
def test_what_is_not_known_of_the_training_may_be_null(folder, key):
    changed_config(folder, (key, None))
    assert isinstance(load_student(folder).metadata, dict)


@pytest.mark.parametrize(
    "name", ["hf-hub:a/b", "hf_hub:a/b", "HF-HUB:a/b", "local-dir:/tmp/a", "https://a.org/b", "timm/b"]
)
def test_names_in_a_file_are_looked_up_among_timms_own_alone(folder, tmp_path, name, monkeypatch):
    monkeypatch.setattr(timm, "create_model", pytest.fail)
    changed_config(folder, ("student", name))
    assert "no name of timm's own" in refusal(folder)
    save_student(create_student("dpt_micro", hooks=(0, 1)), tmp_path / "dpt")
    changed_config(tmp_path / "dpt", ("options.encoder", name))
    assert "no name of timm's own" in refusal(tmp_path / "dpt")


@pytest.mark.parametrize(
    "text", ['{"student": ' + "[" * 10**5, '{"a":' * 10**5, '{"student": "test_resnet", "options": 1}']
)
def test_json_of_any_depth_is_no_configuration(folder, text):
    (folder / "config.json").write_text(text)
    assert "is not a student's configuration" in refusal(folder)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(folder, value):
    weights = load_file(folder / "model.safetensors")
    weights["decoder.final.bias"].fill_(value)
    save_file(weights, folder / "model.safetensors")
    assert "decoder.final.bias holds NaN or infinity" in refusal(folder)
    with pytest.raises(ValueError, match=r"decoder\.final\.bias holds NaN or infinity"):
        create_student("test_resnet", lg_conv=True, width=16, bins=8, checkpoint=folder)


def test_a_pruned_dpt_keeps_its_hooks_and_heads(tmp_path):
    student = create_student("dpt_micro", heads=1, hooks=(0, 1), resolution_scale=0.5, max_depth=10.0)
    save_student(student, tmp_path)
    config = load_student(tmp_path).config
    assert config == student.config
    assert (config.heads, config.hooks, config.resolution_scale, config.max_depth) == (1, (0, 1), 0.5, 10)


# ---------------------------------------------------------------------------------------------- parts that do not learn


def step(student):
    """One step of training on two images."""
    student.train()
    learning = [p for p in student.parameters() if p.requires_grad]
    student(torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))).log().mean().backward()
    torch.optim.SGD(learning, lr=1.0).step()


def changed(before, after):
    """Names of the modules, two deep, in which any weight or statistic is another."""
    old = before.state_dict()
    return {".".join(k.split(".")[:2]) for k, v in after.state_dict().items() if not torch.equal(v, old[k])}


@pytest.mark.parametrize(("part", "rest"), [("encoder", "decoder.up"), ("decoder", "encoder.net")])
def test_a_frozen_part_keeps_weights_and_statistics_while_the_rest_learns(make_student, part, rest):
    student = make_student("test_efficientnet", lg_conv=True)
    before = deepcopy(student)
    student.freeze([part])
    step(student)
    names = changed(before, student)
    assert rest in names
    assert not [name for name in names if name.startswith(part)]


def test_the_stem_and_the_transformer_of_a_dpt_can_learn_one_after_the_other():
    for part, other in (("encoder.stem", "encoder.vit"), ("encoder.vit", "encoder.stem")):
        torch.manual_seed(0)
        student = create_student("dpt_micro", hooks=(0, 1), max_depth=10.0)
        before = deepcopy(student)
        student.freeze([part])
        step(student)
        assert part not in changed(before, student)
        assert other in changed(before, student)


def test_a_copy_freezes_its_own_part(make_student):
    student = make_student("test_resnet")
    student.freeze(["encoder"])
    other = deepcopy(student).train()
    assert other.encoder is not student.encoder
    assert not other.encoder.training
    assert other.decoder.training


def test_a_part_that_is_not_there_is_refused_with_those_that_are(make_student):
    with pytest.raises(
        ValueError, match=r"no part 'neck' to freeze; it has encoder, encoder.net, decoder, decoder.neck"
    ):
        make_student("test_resnet").freeze(["neck"])


@pytest.mark.parametrize("parts", [["encoder", "decoder"], [""]])
def test_a_student_that_would_not_learn_is_refused(make_student, parts):
    with pytest.raises(ValueError, match="frozen nothing is left that learns; freeze less"):
        make_student("test_resnet").freeze(parts)


# ------------------------------------------------------------------------- the Hub, and a process with little installed


METADATA = {
    "method": "disdepth",
    "teacher": "/home/someone/runs/kitti_b5",
    "data": "kitti",
    "step": 1200,
    "input_size": [352, 1120],
    "protocol": "kitti_eigen_garg_full",
    "fingerprint": "e024b0eaa586",
    "metrics": {"abs_rel": 0.06512, "d1": 0.95},
}
# Everything that distill depends on and timm does not.
ABSENT = "accelerate tensorboard cv2 einops pydantic rich onnx onnxruntime transformers h5py scipy matplotlib"


def load_bare(folders):
    """In a process of its own, where nothing of ours is imported yet and nothing of these can be."""
    for name in [*sys.modules]:
        if name.partition(".")[0] in ("distill", "students", "teachers", *ABSENT.split()):
            del sys.modules[name]
    sys.modules.update(dict.fromkeys(ABSENT.split()))
    import distill

    for folder in folders:
        model = distill.load_model(folder)
        assert model(torch.rand(1, 3, 32, 64)).shape == (1, 1, 32, 64)
        assert not model.training


@pytest.fixture(scope="module")
def cnn(tmp_path_factory):
    torch.manual_seed(0)
    student = create_student("test_resnet", lg_conv=True, pretrained=False, width=16, bins=8, max_depth=80.0).eval()
    folder = tmp_path_factory.mktemp("cnn")
    save_student(student, folder, METADATA)
    return student, folder


def test_students_load_with_torch_and_timm_alone(cnn, tmp_path):
    save_student(create_student("dpt_micro", hooks=(0, 1), attention="performer"), tmp_path)
    process = multiprocessing.get_context("fork").Process(target=load_bare, args=([cnn[1], tmp_path],))
    process.start()  # forked, which spares importing torch and timm
    process.join()
    assert process.exitcode == 0


@pytest.mark.parametrize("kind", [Student, CNNStudent])
def test_a_folder_is_loaded_as_a_repository_is(kind, cnn):
    student, folder = cnn
    image = torch.rand(1, 3, 64, 96)
    loaded = kind.from_pretrained(folder)
    assert torch.equal(loaded(image), student(image))
    assert loaded.metadata == METADATA


def test_what_goes_up_comes_down_with_its_card(cnn, tmp_path, monkeypatch):
    """The Hub is a folder here: uploads copy into it, downloads say where it is."""
    student, folder = cnn
    monkeypatch.setattr(
        huggingface_hub.HfApi,
        "create_repo",
        lambda self, repo_id, **_: huggingface_hub.RepoUrl(f"https://huggingface.co/{repo_id}"),
    )
    monkeypatch.setattr(
        huggingface_hub.HfApi,
        "upload_folder",
        lambda self, repo_id, folder_path, **_: shutil.copytree(folder_path, tmp_path / repo_id),
    )
    load_student(folder).push_to_hub("someone/kitti_b0")
    there = tmp_path / "someone" / "kitti_b0"
    assert sorted(path.name for path in there.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    assert json.loads((there / "config.json").read_text()) == json.loads((folder / "config.json").read_text())
    assert (there / "README.md").read_text() == (folder / "README.md").read_text()

    asked = []
    monkeypatch.setattr("huggingface_hub.hub_mixin.hf_hub_download", lambda **_: str(there / "config.json"))
    monkeypatch.setattr("students.student.snapshot_download", lambda name, **_: asked.append(name) or str(there))
    back = Student.from_pretrained("someone/kitti_b0")
    image = torch.rand(1, 3, 64, 96)
    assert torch.equal(back(image), student(image))
    assert asked == ["someone/kitti_b0"]


# ------------------------------------------------------------------------------------------------------------- the card


def test_the_card_says_method_teacher_data_protocol_figures_and_licence(cnn):
    card = (cnn[1] / "README.md").read_text()
    front = yaml.safe_load(card.split("---")[1])
    assert front["license"] == "cc-by-nc-sa-3.0"
    assert (front["library_name"], front["pipeline_tag"]) == ("distill", "depth-estimation")
    figures = ("e024b0eaa586", "0.06512", "352x1120", "0.001 to 80 m")
    for fact in ("DisDepth", "`kitti_b5`", "KITTI", "LG-Conv", *figures):
        assert fact in card
    assert "/home/someone" not in card  # whose runs lie where is nobody's business


def test_a_student_of_unknown_origin_claims_nothing():
    card = model_card({"student": "test_resnet", "options": {}}, {})
    assert yaml.safe_load(card.split("---")[1])["license"] == "other"
    assert "Figures" not in card
    assert "None" not in card


def test_every_method_and_data_set_has_its_words():
    from distill.method import METHODS as KNOWN

    assert set(METHODS) == set(KNOWN)
    assert set(LICENCES) == set(DATA_SETS)


def test_a_link_beside_the_weights_is_not_written_through(student, tmp_path):
    (tmp_path / "precious").write_text("precious")
    for name in ("model.safetensors", "config.json", "README.md"):
        (tmp_path / f"{name}.part").symlink_to("precious")
    save_student(student, tmp_path)
    assert (tmp_path / "precious").read_text() == "precious"


def test_names_in_the_card_stay_text():
    metadata = {"teacher": "a`|<b>\n# x", "data": "[x](http://y)", "method": "<script>", "protocol": "`p`"}
    card = model_card({"student": "net]\nlicense: mit", "options": {}}, metadata)
    assert [part for part in ("<script>", "[x](", "<b>", "\n# x", "\nlicense: mit", "``p``") if part in card] == []


def test_a_student_without_a_unit_says_so_in_its_folder_and_card_and_when_loaded(tmp_path):
    student = create_student("test_resnet", pretrained=False, width=8, bins=8)
    student.output = "relative"
    save_student(student, tmp_path)
    assert load_student(tmp_path).output == "relative"
    card = (tmp_path / "README.md").read_text()
    assert "Relative depth from one image" in card
    assert "in metres" not in card
    save_student(load_student(tmp_path), tmp_path / "again")
    assert (tmp_path / "again" / "config.json").read_text() == (tmp_path / "config.json").read_text()


@pytest.mark.parametrize(("loss", "output"), [("midas", "relative"), ("ssi", "relative"), ("silog", "metric")])
def test_a_student_whose_file_does_not_say_is_relative_if_its_runs_loss_knows_no_scale(folder, loss, output):
    run = f"seed: 0\nmethod:\n  name: supervised\n  loss: {loss}\ntrain:\n  steps: 1\n"
    (folder.parent / "config.yaml").write_text(run)
    assert [read_config(place)[1]["output"] for place in (folder, folder.parent)] == [output, output]


def test_losses_without_scale_are_those_of_the_method():
    names = {name for name in LOSSES if SCALE_FREE_LOSS.search(f"method:\n  loss: {name}\n")}
    assert names == RELATIVE_LOSSES
