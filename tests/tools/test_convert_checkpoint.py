import gzip
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import teachers
from students import create_student, save_student
from teachers import DPT, create_dpt
from teachers.key_maps import ENCODER, NAMINGS, from_ours, to_ours
from teachers.mismatch import shapes
from teachers.stem import StemConfig

PUBLISHED_KEYS = Path(__file__).parents[1] / "teachers" / "reference" / "dpt_hybrid_keys.json.gz"
STEM = StemConfig(layers=(1, 2, 1), channels=(32, 64, 96), width=8, groups=4)
SMALL = {"width": 16, "heads": 2, "grid": 4, "features": 8}
SIZES = {
    "hybrid": teachers.DPTConfig(**SMALL, stem=STEM, channels=(32, 64, 16, 20), hooks=(1, 2)),
    "plain": teachers.DPTConfig(**SMALL, stem=None, channels=(8, 12, 16, 20), hooks=(0, 1, 3, 4)),
}
FORMATS = {"ours": "a.safetensors", "original": "a.pt", "huggingface": "folder"}
ENCODERS = {"ours": "e.safetensors", "timm": "e.safetensors", "mmseg": "e.pth"}


@pytest.fixture(autouse=True)
def small_teachers(monkeypatch):
    for name, config in SIZES.items():
        monkeypatch.setitem(teachers.DPT_CONFIGS, f"small_{name}", config)


@pytest.fixture(params=SIZES)
def kind(request):
    return request.param


@pytest.fixture
def source(tmp_path, kind):
    """A file of torch with our names."""
    torch.manual_seed(0)
    torch.save(DPT(SIZES[kind]).state_dict(), tmp_path / "source.pt")
    return tmp_path / "source.pt"


@pytest.fixture
def convert(tool):
    """convert(source, target, format, *options) succeeds."""

    def run(source, target, to, *options):
        assert tool.main([str(source), str(target), "--to", to, *options]) == 0

    return run


@pytest.fixture
def refused(tool, capsys):
    """refused(source, target, format, *options): the one line with which the tool ends with code 2."""

    def run(source, target, to, *options):
        capsys.readouterr()
        assert tool.main([str(source), str(target), "--to", to, *options]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        return line.removeprefix("convert_checkpoint: ")

    return run


def weights(path):
    return torch.load(path, weights_only=True)


@pytest.mark.parametrize("to", FORMATS)
def test_there_and_back_is_the_same_file(convert, tmp_path, source, assert_same, to):
    there, back = tmp_path / FORMATS[to], tmp_path / "back.safetensors"
    convert(source, there, to)
    convert(there, back, "ours")
    assert_same(load_file(back), weights(source))
    assert not list(tmp_path.glob("*.part"))


def test_one_program_s_file_becomes_the_other_s(convert, tmp_path, source, assert_same):
    for here, to, there in (
        (source, "original", tmp_path / "a.pt"),
        (tmp_path / "a.pt", "huggingface", tmp_path / "b"),
        (tmp_path / "b", "original", tmp_path / "c.pt"),
    ):
        convert(here, there, to)
    assert_same(weights(tmp_path / "c.pt"), weights(tmp_path / "a.pt"))


@pytest.mark.parametrize("to", FORMATS)
def test_weights_keep_their_precision(convert, tmp_path, kind, to):
    state = {key: value.bfloat16() for key, value in DPT(SIZES[kind]).state_dict().items()}
    torch.save(state, tmp_path / "half.pt")
    convert(tmp_path / "half.pt", tmp_path / FORMATS[to], to)
    path = tmp_path / FORMATS[to]
    written = weights(path) if to == "original" else load_file(path / "model.safetensors" if path.is_dir() else path)
    assert {value.dtype for value in written.values()} == {torch.bfloat16}


def test_an_original_file_has_every_tensor_that_the_published_one_has(tool):
    listed = json.loads(gzip.decompress(PUBLISHED_KEYS.read_bytes()))
    published = {key: torch.empty(shape, device="meta") for key, shape in listed.items()}
    ours = to_ours(published).weights
    made = from_ours(ours, "original") | tool.placeholders("original", teachers.DPT_CONFIGS["dpt_hybrid"], ours)
    assert shapes(made) == shapes(published)


def test_what_became_of_every_tensor_is_printed(convert, tmp_path, source, kind, capsys):
    convert(source, tmp_path / "a.pt", "original")
    count = len(weights(source))
    first, second, third = capsys.readouterr().out.splitlines()
    assert first == f"{source}: small_{kind}, our names"
    assert second == f"{tmp_path / 'a.pt'}: {count} tensors, the names of the published DPT files"
    assert third.startswith("placeholders that no depth depends on: 8 (pretrained.model.norm.weight, ")
    assert len(weights(tmp_path / "a.pt")) == count + 8
    convert(tmp_path / "a.pt", tmp_path / "b.safetensors", "ours")
    assert "left out: 8 (pretrained.model.norm.weight, " in capsys.readouterr().out


@pytest.mark.parametrize("to", ENCODERS)
def test_an_encoder_alone_goes_there_and_starts_a_network(convert, tmp_path, source, kind, refused, to):
    path = tmp_path / ENCODERS[to]
    words = source, path, to, "--encoder-only"
    if (to, kind) == ("mmseg", "hybrid"):
        assert "MMSegmentation's names have no place for " in refused(*words)
        return
    convert(*words)
    model = create_dpt(f"small_{kind}", encoder_checkpoint=path)
    wanted = {key: value for key, value in weights(source).items() if key.startswith(ENCODER)}
    assert all(torch.equal(model.state_dict()[key], value) for key, value in wanted.items())
    back = tmp_path / "back.safetensors"
    convert(path, back, "ours", "--encoder-only")
    assert load_file(back).keys() == wanted.keys()


@pytest.fixture
def pruned(tmp_path, monkeypatch):
    """pruned(**options): the folder of a run whose student is a small DPT with four of its five blocks, one head."""
    monkeypatch.setitem(teachers.DPT_CONFIGS, "dpt_base", SIZES["plain"])

    def save(**options):
        save_student(create_student("dpt_base", **{"heads": 1, "hooks": (0, 1, 2, 3), **options}), tmp_path / "student")
        return tmp_path

    return save


def test_a_dpt_student_s_folder_becomes_a_network_of_hugging_face(convert, tmp_path, pruned):
    pruned()
    convert(tmp_path, tmp_path / "theirs", "huggingface")
    described = json.loads((tmp_path / "theirs" / "config.json").read_text())
    assert (described["num_attention_heads"], described["backbone_out_indices"]) == (1, [0, 1, 2, 3])


def test_what_no_file_of_weights_tells_is_printed(convert, tmp_path, pruned, capsys):
    source = pruned(heads=2, hooks=SIZES["plain"].hooks, max_depth=10.0, scale=0.25, shift=0.06, invert=True)
    convert(source, tmp_path / "a.pt", "original")
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == (
        "not in the file; note it beside it: scale=0.25, shift=0.06, invert=True, min_depth=0.001, max_depth=10.0"
    )


def test_transformers_opens_the_folder(convert, tmp_path, source, kind):
    transformers = pytest.importorskip("transformers", reason="needs transformers: pip install '.[hf]'")
    convert(source, tmp_path / "theirs", "huggingface")
    model, report = transformers.DPTForDepthEstimation.from_pretrained(tmp_path / "theirs", output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    assert model.config.num_attention_heads == 2
    processor = transformers.DPTImageProcessor.from_pretrained(tmp_path / "theirs")
    image = torch.randint(0, 256, (3, 64, 64), dtype=torch.uint8)
    pixels = processor(image, return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(pixels[0], (image / 255 - 0.5) / 0.5, atol=1e-5, rtol=0)


# ------------------------------------------------------------------------------------------------------------- refusals


def test_an_absent_file_is_refused(tmp_path, refused):
    assert refused(tmp_path / "no.pt", tmp_path / "a", "ours") == f"no checkpoint at {tmp_path / 'no.pt'}"


def test_a_file_that_is_damaged_or_something_else_is_refused(tmp_path, source, refused):
    for name, content in (("cut.pt", source.read_bytes()[:-999]), ("page.pt", b"<html>404</html>")):
        (tmp_path / name).write_bytes(content)
        assert f"{name} is " in refused(tmp_path / name, tmp_path / "a", "ours")
    torch.save({"conv1.weight": torch.ones(3)}, tmp_path / "other.pt")
    for words in ([], ["--encoder-only"]):
        message = refused(tmp_path / "other.pt", tmp_path / "a", "ours", *words)
        assert "other.pt is no DPT" in message or "a DPT has no place for conv1.weight" in message


def test_a_target_that_exists_is_refused_and_kept(tmp_path, source, refused):
    (tmp_path / "a").write_text("mine")
    assert "exists, or its folder does not" in refused(source, tmp_path / "a", "ours")
    assert "exists, or its folder does not" in refused(source, tmp_path / "absent" / "a", "ours")
    assert (tmp_path / "a").read_text() == "mine"


def test_half_a_file_is_refused_by_its_name_and_nothing_is_written(tmp_path, source, kind, refused):
    half = {key: value for key, value in weights(source).items() if "head" not in key}
    torch.save(half, tmp_path / "half.pt")
    message = refused(tmp_path / "half.pt", tmp_path / "a", "original")
    assert f"half.pt is no complete small_{kind}: 6 of " in message
    assert not (tmp_path / "a").exists()


def test_half_an_encoder_is_refused(tmp_path, source, refused):
    half = {key: value for key, value in weights(source).items() if "blocks.1.norm1" not in key}
    torch.save(half, tmp_path / "half.pt")
    message = refused(tmp_path / "half.pt", tmp_path / "a", "timm", "--encoder-only")
    assert "is no complete encoder: 2 tensors missing, such as encoder.vit.blocks.1.norm1.bias" in message


def test_a_network_that_is_not_known_by_name_is_refused(tmp_path, refused):
    torch.save(DPT(teachers.DPTConfig(**SMALL | {"width": 32}, stem=STEM)).state_dict(), tmp_path / "other.pt")
    assert "other.pt is no DPT that is known by name" in refused(tmp_path / "other.pt", tmp_path / "a", "ours")


def test_an_encoder_is_not_taken_for_a_network_nor_a_network_for_an_encoder(convert, tmp_path, source, refused):
    convert(source, tmp_path / "vit", "timm", "--encoder-only")
    assert "holds an encoder alone; add --encoder-only" in refused(tmp_path / "vit", tmp_path / "a", "ours")
    assert "add --encoder-only to leave it out" in refused(source, tmp_path / "a", "mmseg")
    message = refused(source, tmp_path / "a", "original", "--encoder-only")
    assert "are for whole DPTs; use --to ours, timm or mmseg for an encoder" in message


def test_a_network_that_hugging_face_does_not_have_is_refused(tmp_path, refused):
    torch.save(create_dpt("dpt_micro").state_dict(), tmp_path / "micro.pt")
    message = refused(tmp_path / "micro.pt", tmp_path / "a", "huggingface")
    assert "its head has 32 hidden channels, this one 16" in message
    assert not (tmp_path / "a").exists()


def test_a_readout_that_weights_do_not_tell_is_refused_where_it_must_be_reported(convert, tmp_path, refused):
    config = replace(SIZES["plain"], readout="add")
    torch.save(DPT(config).state_dict(), tmp_path / "add.pt")
    message = refused(tmp_path / "add.pt", tmp_path / "a", "huggingface")
    assert "its read-out is add or ignore, and weights do not tell which" in message
    convert(tmp_path / "add.pt", tmp_path / "b.pt", "original")


def test_a_folder_with_other_heads_than_the_name_says_is_refused(convert, tmp_path, source, refused):
    convert(source, tmp_path / "theirs", "huggingface")
    path = tmp_path / "theirs" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"num_attention_heads": 4}))
    message = refused(tmp_path / "theirs", tmp_path / "a", "ours")
    assert message.endswith("its config.json says heads=4, not 2")


@pytest.mark.parametrize(
    ("options", "to", "lost"),
    [
        ({}, "original", "heads=1, hooks=(0, 1, 2, 3)"),
        ({"hooks": (0, 1, 3, 4)}, "ours", "heads=1"),
        ({"heads": 2, "hooks": (0, 1, 3, 4), "resolution_scale": 0.5}, "huggingface", "resolution_scale=0.5"),
    ],
)
@pytest.mark.parametrize("file", ["", "student/model.safetensors"])
def test_a_student_of_which_weights_tell_too_little_is_refused(tmp_path, pruned, refused, options, to, lost, file):
    message = refused(pruned(**options) / file, tmp_path / "a", to)
    assert message.startswith(
        f"{NAMINGS[to].title} do not tell {lost}: read as dpt_base, it would be another network; "
    )
    assert not list(tmp_path.glob("a*"))


def test_an_encoder_split_into_other_heads_is_refused(convert, tmp_path, pruned, refused):
    assert "do not tell heads=1: " in refused(pruned(), tmp_path / "a", "timm", "--encoder-only")
    convert(pruned(heads=2), tmp_path / "a", "timm", "--encoder-only")


def test_a_cnn_student_is_refused(tmp_path, refused):
    save_student(create_student("test_efficientnet", pretrained=False, width=8, bins=8), tmp_path / "student")
    assert "is no DPT with standard attention" in refused(tmp_path, tmp_path / "a", "original")


def test_a_segmentation_network_goes_to_our_names_alone(convert, tmp_path, refused, monkeypatch):
    config = replace(SIZES["plain"], classes=("wall", "floor"))
    monkeypatch.setitem(teachers.DPT_CONFIGS, "small_classes", config)
    torch.save(from_ours(DPT(config).state_dict(), "original"), tmp_path / "classes.pt")
    for to in ("original", "huggingface"):
        assert "want its auxiliary head" in refused(tmp_path / "classes.pt", tmp_path / "a", to)
    convert(tmp_path / "classes.pt", tmp_path / "ours.safetensors", "ours")
    assert create_dpt("small_classes", tmp_path / "ours.safetensors").output == "classes"
