"""Networks of `transformers` give here what they give there, and what is no such network is refused by name."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from teachers import create_teacher
from teachers.hf.hub import CLASSES

transformers = pytest.importorskip("transformers", reason="needs the package transformers")

from tests.teachers.hf.tiny_networks import CONFIGS, save, save_depth_pro  # noqa: E402  # needs the package too

SIZES = [(64, 64), (75, 110), (96, 128)]
RELATIVE = {"depth_anything", "dpt", "dpt_beit", "dpt_dinov2", "dpt_hybrid", "dpt_swin"}


def pictures(size: tuple[int, int]) -> np.ndarray:
    """Two pictures of noise, uint8 (2, H, W, 3)."""
    return np.random.default_rng(0).integers(0, 256, (2, *size, 3), dtype=np.uint8)


def as_images(pictures: np.ndarray) -> torch.Tensor:
    """The same as (2, 3, H, W) in [0, 1]."""
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255


@torch.no_grad()
def by_the_library(network: Any, processor: Any, one: np.ndarray) -> torch.Tensor:
    """Depth (1, 1, H, W) of one picture by the class and its processor alone."""
    outputs = network(**processor(images=[one], return_tensors="pt"))
    sizes = {"source_sizes" if names_sources(processor) else "target_sizes": [one.shape[:2]]}
    found: torch.Tensor = processor.post_process_depth_estimation(outputs, **sizes)[0]["predicted_depth"]
    return found[None, None]


def names_sources(processor: Any) -> bool:
    """Whether a processor takes the sizes of pictures under ZoeDepth's name for them."""
    return "ZoeDepth" in type(processor).__name__


Saved = tuple[str, Any, Path]


@pytest.fixture(scope="module", params=CONFIGS)
def saved(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Saved:
    """A network's name, itself, and the folder that it was saved in, with its processor."""
    folder = tmp_path_factory.mktemp("saved")
    return request.param, save(folder, request.param), folder


def test_a_picture_gets_the_depth_that_its_class_and_processor_give_in_the_unit_of_its_weights(saved: Saved) -> None:
    name, network, folder = saved
    teacher = create_teacher(f"hf:{folder}")
    assert teacher.output == ("relative" if name in RELATIVE else "metric")
    processor = transformers.AutoImageProcessor.from_pretrained(folder)
    if not hasattr(processor, "post_process_depth_estimation"):
        pytest.skip(f"transformers {transformers.__version__} does not resize depth itself")
    for size in SIZES:
        batch = pictures(size)
        expected = torch.cat([by_the_library(network, processor, one) for one in batch])
        assert expected.std() > 1e-4
        torch.testing.assert_close(teacher(as_images(batch)), expected, atol=1e-5, rtol=1e-5)


def test_without_a_processor_the_network_sees_the_tensor_itself(saved: Saved, tmp_path: Path) -> None:
    name, network, folder = saved
    shutil.copytree(folder, tmp_path, ignore=shutil.ignore_patterns("preprocessor_config.json"), dirs_exist_ok=True)
    teacher = create_teacher(f"hf:{tmp_path}")
    seen: list[torch.Tensor] = []
    teacher.encoder.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    square = name in ("dpt", "dpt_hybrid")  # by the class itself
    sizes = [(64, 64)] if square else [(64, 64), (56, 112), (96, 128)]
    for size in sizes:
        image = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(0))
        maps = teacher.encode(image)
        depth = teacher.decode(maps, size)
        with torch.no_grad():
            wanted = network(seen[-1]).predicted_depth
        assert depth.shape == (2, 1, *size)
        if tuple(seen[-1].shape[-2:]) == tuple(wanted.shape[-2:]) == size:
            torch.testing.assert_close(depth[:, 0], wanted, atol=1e-4, rtol=1e-4)
        strides = [size[0] / x.shape[-2] for x in maps]
        assert all(0.6 * s < stride < 1.5 * s for s, stride in zip((4, 8, 16, 32), strides, strict=True)), strides
        assert tuple(x.shape[1] for x in maps) == teacher.feature_channels


def test_the_depth_of_an_image_does_not_hang_on_its_neighbours(tmp_path: Path) -> None:
    save(tmp_path, "zoedepth_two_heads")
    teacher = create_teacher(f"hf:{tmp_path}")
    image = torch.stack([torch.zeros(3, 64, 64), torch.rand(3, 64, 64), torch.ones(3, 64, 64)])
    alone = torch.cat([teacher(one[None]) for one in image])
    torch.testing.assert_close(teacher(image), alone, atol=1e-4, rtol=1e-4)


def test_a_teacher_of_the_library_is_frozen_and_known_by_its_weights(tmp_path: Path) -> None:
    save(tmp_path, "depth_anything")
    teacher, again = create_teacher(f"hf:{tmp_path}"), create_teacher(f"hf:{tmp_path}")
    assert not any(parameter.requires_grad for parameter in teacher.parameters())
    assert not teacher.train().model.training
    assert teacher.fingerprint == again.fingerprint
    state = load_file(tmp_path / "model.safetensors")
    save_file({key: value + 1e-3 for key, value in state.items()}, tmp_path / "model.safetensors", {"format": "pt"})
    assert create_teacher(f"hf:{tmp_path}").fingerprint != teacher.fingerprint


def test_a_licence_is_that_of_the_card_or_of_the_published_name(tmp_path: Path) -> None:
    folder = tmp_path / "Depth-Anything-V2-Large-hf"
    save(folder, "depth_anything")
    assert create_teacher(f"hf:{folder}").licence == "cc-by-nc-4.0"
    (folder / "README.md").write_text("---\nlicense: mit\n---\n")
    assert create_teacher(f"hf:{folder}").licence == "mit"


@pytest.mark.skipif(not hasattr(transformers, "DepthProConfig"), reason="transformers is too old for Depth Pro")
def test_depth_pro_gives_depth_and_says_that_it_has_no_maps(tmp_path: Path) -> None:
    network, processor = save_depth_pro(tmp_path), transformers.AutoImageProcessor.from_pretrained(tmp_path)
    teacher = create_teacher(f"hf:{tmp_path}")
    batch = pictures((75, 110))
    expected = torch.cat([by_the_library(network, processor, one) for one in batch])
    depth = teacher(as_images(batch))
    torch.testing.assert_close(1 / depth, 1 / expected, atol=1e-5, rtol=1e-4)  # depth divides by what may be near 0
    assert teacher.output == "metric"
    with pytest.raises(ValueError, match="distill label"):
        teacher.encode(as_images(batch))


def test_missing_weights_are_counted_and_named(tmp_path: Path) -> None:
    save(tmp_path, "depth_anything")
    state = load_file(tmp_path / "model.safetensors")
    kept = {key: value for key, value in state.items() if not key.startswith("head.")}
    save_file(kept, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match=r"lacks 6 tensors .* head\.conv1\.bias"):
        create_teacher(f"hf:{tmp_path}")


def test_weights_that_are_no_numbers_are_named(tmp_path: Path) -> None:
    save(tmp_path, "depth_anything")
    state = load_file(tmp_path / "model.safetensors")
    save_file(state | {"head.conv1.bias": state["head.conv1.bias"] * torch.nan}, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=r"NaN or infinity in 1 tensors, such as head\.conv1\.bias"):
        create_teacher(f"hf:{tmp_path}")


@pytest.mark.parametrize(
    ("name", "facts", "words"),
    [
        ("depth_anything", {"image_processor_type": "NoSuchProcessor"}, "is of no image processor"),
        ("depth_anything", {"size": {"height": 0, "width": 0}}, "size is .*expected sides of 1 to 8192"),
        ("depth_anything", {"size": {"height": 100_000, "width": 9}}, "size is .*expected sides of 1 to 8192"),
        ("depth_anything", {"image_mean": [0.5], "image_std": [0.5]}, "three numbers"),
        ("depth_anything", {"image_mean": "x"}, "three numbers"),
        ("depth_anything", {"image_std": [0, 1, 1]}, "image_std is 0"),
        ("depth_anything", {"rescale_factor": 1.0}, "look at rescale_factor"),
        (
            "depth_anything",
            {"image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": 64}},
            "do_center_crop cuts a part out",
        ),
        (
            "dpt_hybrid",
            {"size": {"height": 96, "width": 96}},
            r"gives \(96, 96\), and the network takes \(64, 64\) only",
        ),
    ],
)
def test_a_processor_that_contradicts_the_network_is_refused_with_what_does(
    name: str, facts: dict[str, Any], words: str, tmp_path: Path
) -> None:
    save(tmp_path, name)
    path = tmp_path / "preprocessor_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | facts))
    with pytest.raises(ValueError, match=rf"preprocessor_config\.json.*{words}"):
        create_teacher(f"hf:{tmp_path}")


def with_facts(folder: Path, **facts: object) -> Path:
    """A folder that holds nothing but a configuration."""
    (folder / "config.json").write_text(json.dumps(facts))
    return folder


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"model_type": "prompt_depth_anything"}, "wants a depth map"),
        ({"model_type": "chmv2"}, "trees"),
        ({"model_type": "bert"}, "depth_anything"),
        ({"model_type": "dpt", "architectures": ["DPTForSemanticSegmentation"]}, "DPTForDepthEstimation"),
        ({"model_type": "depth_anything", "backbone": "facebook/dinov2-small"}, "save_pretrained"),
        ({"model_type": "depth_anything"}, r"no \.safetensors"),
    ],
)
def test_what_is_no_depth_network_is_refused_by_name(facts: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises((ValueError, FileNotFoundError), match=words):
        create_teacher(f"hf:{with_facts(tmp_path, **facts)}")


def test_a_folder_or_name_that_is_not_there_is_told_with_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(FileNotFoundError, match=r"no folder .*nowhere"):
        create_teacher(f"hf:{tmp_path / 'nowhere'}")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(FileNotFoundError, match=r"not cached.*hf:FOLDER"):
        create_teacher("hf:owner/nothing-of-this-name")


def test_names_that_the_hub_does_not_give_are_told_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    response: Any = SimpleNamespace(headers={}, request=None)
    for error, words in (
        (GatedRepoError("Access is restricted", response=response), "owner/name is gated.*log in with hf auth login"),
        (RepositoryNotFoundError("404", response=response), "no owner/name on the Hub"),
        (ConnectionError("Name or service not known"), "cannot be reached .*give hf:FOLDER"),
    ):

        def fail(*_: object, error: Exception = error, **__: object) -> None:
            raise error

        monkeypatch.setattr("huggingface_hub.snapshot_download", fail)
        with pytest.raises(FileNotFoundError, match=words):
            create_teacher("hf:owner/name")


def test_weights_and_their_meaning_are_not_given_twice(tmp_path: Path) -> None:
    save(tmp_path, "dpt")
    with pytest.raises(ValueError, match="leave scale out"):
        create_teacher(f"hf:{tmp_path}", scale=2.0)


def test_every_class_that_is_opened_has_a_network_here() -> None:
    there = {kind for kind, name in CLASSES.items() if hasattr(transformers, name)}
    assert {CONFIGS[name]().model_type for name in CONFIGS} == there - {"depth_pro"}
