"""A model over a set of images: means, what is left out, what the model is shown."""

import json
import math

import numpy as np
import pytest
import torch
from torch import nn

from distill.data.sample import Sample
from distill.errors import UserError
from distill.evaluation import METRICS, PROTOCOLS, Evaluation, Network, evaluate, gather, interleave, score_samples
from teachers import create_dpt

ROAD, ROOM = PROTOCOLS["scenes_road"], PROTOCOLS["scenes_room"]
KITTI = PROTOCOLS["kitti_eigen_garg_full"]


class Model(nn.Module):
    """Depth as a function of the image, pixel by pixel, which remembers what it was shown."""

    def __init__(self, function=lambda image: 1 + 40 * image[:, :1]):
        super().__init__()
        self.function, self.shown, self.modes = function, [], []
        self.part = nn.BatchNorm2d(3)

    def forward(self, image):
        self.shown.append(image)
        self.modes.append((self.training, self.part.training))
        return self.function(image)


def sample(name, seed=0, size=(24, 32), **changes):
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
    depth = rng.uniform(1, 45, size).astype(np.float32)
    depth[rng.random(size) < 0.3] = 0
    return Sample(**{"image": image, "depth": depth, "valid": depth > 0, "name": name, **changes})


def empty(name):
    return sample(name, depth=np.zeros((24, 32), np.float32))


def test_the_score_of_a_set_is_the_mean_of_its_images():
    samples = [sample("a", 1), sample("b", 2, (40, 36))]
    result = evaluate(Model(), samples, ROAD)
    singles = [ROAD.score(1 + 40 * (s.image[..., 0] / np.float32(255)), s.depth) for s in samples]
    assert [image.name for image in result.images] == ["a", "b"]
    for name in (*METRICS, "mae"):
        assert result.metrics[name] == pytest.approx((singles[0][name] + singles[1][name]) / 2, rel=1e-6)
    assert [image.pixels for image in result.images] == [single["pixels"] for single in singles]
    assert result.protocol is ROAD
    assert result.seconds > 0
    assert result.repaired == 0


def test_the_mean_is_of_images_and_not_of_pixels():
    near, far = np.zeros((24, 32), np.float32), np.full((24, 32), 8, np.float32)
    near[0, 0] = 2
    result = evaluate(Model(lambda x: 0 * x[:, :1] + 4), [sample("a", depth=near), sample("b", depth=far)], ROAD)
    assert result.metrics["abs_rel"] == pytest.approx((1 + 0.5) / 2)


def test_images_without_truth_and_unreadable_ones_are_named_and_not_evaluated():
    far = sample("far", depth=np.full((24, 32), 80, np.float32))
    stand_in = sample("a", 1, faults=("broken.png",))
    seen = []
    model = Model()
    samples = [empty("none"), sample("a", 1), stand_in, far]
    result = evaluate(model, iter(samples), ROAD, progress=lambda *step: seen.append(step))
    assert [image.name for image in result.images] == ["a"]
    assert result.skipped == ("none", "far")
    assert result.faults == ("broken.png",)
    assert seen == [(1, "none"), (2, "a"), (3, "a"), (4, "far")]
    assert len(model.shown) == 1  # the rest costs the model no time


@pytest.mark.parametrize("samples", [[], [empty("a"), empty("b")]])
def test_nothing_to_evaluate_is_a_mistake_of_the_data(samples):
    with pytest.raises(UserError, match=f"nothing to evaluate by scenes_road: {len(samples)} without"):
        evaluate(Model(), samples, ROAD)


def test_a_frame_that_does_not_suit_is_named():
    with pytest.raises(UserError, match=r"^drive/7: nyu_eigen takes frames of 480x640, got 24x32"):
        evaluate(Model(), [sample("drive/7")], PROTOCOLS["nyu_eigen"])


def test_a_prediction_of_another_shape_is_refused_with_both():
    half = Model(lambda image: image[:, :1, ::2, ::2])
    with pytest.raises(ValueError, match=r"\(1, 1, 12, 16\) of \(1, 3, 24, 32\), expected \(1, 1, 24, 32\)"):
        evaluate(half, [sample("a")], ROAD)


@pytest.mark.parametrize("error", [None, RuntimeError])
def test_every_part_of_the_model_gets_its_mode_back(error):
    def function(image):
        if error:
            raise error
        return image[:, :1]

    model = Model(function).train()
    model.part.eval()  # a frozen part, which model.train() would wake
    if error:
        with pytest.raises(error):
            evaluate(model, [sample("a")], ROAD)
    else:
        evaluate(model, [sample("a")], ROAD)
    assert model.modes == [(False, False)]
    assert (model.training, model.part.training) == (True, False)


def test_the_model_is_shown_images_in_the_unit_range_without_gradient():
    s = sample("a")
    model = Model()
    evaluate(model, [s, sample("b", image=s.image.astype(np.float32) / 255)], ROAD)
    bytes_, floats = model.shown
    assert bytes_.shape == (1, 3, 24, 32)
    assert bytes_.dtype == torch.float32
    assert torch.equal(bytes_, floats)
    assert bytes_.is_inference()
    assert bytes_[0, :, 2, 3].mul(255).round().tolist() == s.image[2, 3].tolist()


@pytest.mark.parametrize("tta", ["flip", "flip-plain", "flip-edge"])
def test_the_mirrored_image_goes_in_the_same_batch(tta):
    model, s = Model(), sample("a")
    flipped, plain = evaluate(model, [s], ROAD, tta=tta), evaluate(Model(), [s], ROAD)
    assert len(model.shown) == 1
    assert torch.equal(model.shown[0][1], model.shown[0][0].flip(-1))
    assert flipped.metrics == pytest.approx(plain.metrics, rel=1e-5)  # the model looks at single pixels
    assert flipped.protocol == ROAD.with_(tta=tta)
    assert flipped.as_dict()["fingerprint"] != plain.as_dict()["fingerprint"]


def test_a_mirror_that_the_model_sees_differently_is_averaged():
    position = Model(lambda x: 0 * x[:, :1] + torch.linspace(10, 20, x.shape[-1]))
    fifteen = np.full((24, 32), 15, np.float32)
    result = evaluate(position, [sample("a", depth=fifteen)], ROAD, tta="flip")
    assert result.metrics["rmse"] == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("name", ["kitti_eigen_garg_full", "kitti_eigen_garg_kb"])
def test_a_kitti_model_sees_the_benchmark_cut_and_is_evaluated_in_the_frame(name):
    model, s = Model(), sample("a", size=(376, 1241))
    result = evaluate(model, [s], PROTOCOLS[name])
    assert model.shown[0].shape == (1, 3, 352, 1216)
    full = 1 + 40 * (s.image[..., 0] / np.float32(255))
    assert result.metrics["rmse"] == pytest.approx(PROTOCOLS[name].score(full, s.depth)["rmse"], rel=1e-6)


def test_a_small_kitti_frame_is_shown_whole():
    model = Model()
    evaluate(model, [sample("a", size=(96, 320))], KITTI)
    assert model.shown[0].shape == (1, 3, 96, 320)


@pytest.mark.parametrize("tta", ["none", "flip"])
def test_another_input_size_is_resized_to_and_back(tta):
    column = np.linspace(20, 200, 64).astype(np.uint8)
    s = sample("a", image=np.broadcast_to(column[None, :, None], (48, 64, 3)), depth=np.ones((48, 64), np.float32))
    s.depth[:] = 1 + 40 * (s.image[..., 0] / 255)
    model = Model()
    result = evaluate(model, [s], ROAD, tta=tta, size=(24, 32))
    assert model.shown[0].shape[-2:] == (24, 32)
    assert result.metrics["rmse"] < 0.3  # a ramp survives half the resolution
    assert result.as_dict()["input_size"] == [24, 32]
    assert result.as_dict()["fingerprint"] == ROAD.with_(tta=tta).fingerprint


def test_shrunk_images_are_averages_and_not_single_pixels():
    image = np.zeros((24, 32, 3), np.uint8)
    image[:, ::4] = 255  # lines that a sample of every fourth pixel would miss
    model = Model()
    evaluate(model, [sample("a", image=image)], ROAD, size=(6, 8))
    assert model.shown[0].mean() == pytest.approx(0.25, abs=0.03)


def test_autocast_is_on_inside_the_model_and_off_again():
    seen = []
    model = Model(lambda x: (seen.append(torch.get_autocast_dtype("cpu")), x[:, :1].bfloat16())[1])
    result = evaluate(model, [sample("a")], ROAD, autocast=torch.bfloat16)
    assert seen == [torch.bfloat16]
    assert not torch.is_autocast_enabled("cpu")
    assert math.isfinite(result.metrics["rmse"])


def test_any_callable_can_be_evaluated():
    assert evaluate(lambda image: 1 + image[:, :1], [sample("a")], ROAD).metrics["d1"] >= 0


def test_the_result_is_json_with_the_promised_keys():
    result = evaluate(Model(), [sample("a", 1), empty("b"), sample("c", 2, faults=("x.png",))], ROAD)
    written = json.loads(json.dumps(result.as_dict(), allow_nan=False))
    assert written["protocol"] == "scenes_road"
    assert written["fingerprint"] == ROAD.fingerprint
    assert (written["images"], written["skipped"]) == (1, 1)
    assert list(written["metrics"]) == [*METRICS, "mae"]
    assert written["metrics"] == result.metrics
    assert (written["skipped_names"], written["faults"]) == (["b"], ["x.png"])
    (image,) = written["per_image"]
    (score,) = result.images
    assert image == {"name": "a", "pixels": score.pixels, "truth": score.truth, "repaired": 0, **score.metrics}
    depth = sample("a", 1).depth
    assert score.truth == pytest.approx(depth[(depth > 1e-3) & (depth < 80)].mean(), rel=1e-5)
    assert written["settings"]["max_depth"] == 80
    assert written["input_size"] is None


def test_parts_are_means_over_the_images_that_have_them():
    near, far = np.full((24, 32), 10, np.float32), np.full((24, 32), 40, np.float32)
    samples = [sample("a", depth=near), sample("b", depth=far), sample("c", depth=0.5 * near)]
    result = evaluate(lambda x: 0 * x[:, :1] + 20, samples, ROAD)
    assert list(result.breakdown) == ["0-20 m", "20-50 m", "elsewhere"]
    close = result.breakdown["0-20 m"]
    assert (close["images"], close["pixels"]) == (2, 2 * 24 * 32)
    assert close["metrics"]["abs_rel"] == pytest.approx((1 + 3) / 2)
    assert result.breakdown["20-50 m"]["metrics"]["rmse"] == pytest.approx(20)
    assert result.breakdown["elsewhere"]["metrics"] == result.metrics
    assert sum(result.errors) == 3 * 24 * 32
    written = json.loads(json.dumps(result.as_dict(), allow_nan=False))
    assert written["breakdown"] == result.breakdown
    assert len(written["error_histogram"]["relative_error"]) + 1 == len(written["error_histogram"]["pixels"])


def test_the_worst_images_come_first():
    samples = [
        sample(name, depth=np.full((24, 32), depth, np.float32)) for name, depth in zip("abc", (9, 2, 5), strict=True)
    ]
    result = evaluate(lambda x: 0 * x[:, :1] + 10, samples, ROAD)
    assert [image.name for image in result.worst(2)] == ["b", "c"]


def test_several_protocols_share_one_prediction():
    protocols = [PROTOCOLS[name] for name in ("kitti_eigen_garg_kb", "kitti_eigen_crop_full")]
    samples = [sample("a", 1, (375, 1242)), sample("b", 2, (370, 1224), depth=np.zeros((370, 1224), np.float32))]
    model = Model()
    outcomes = list(score_samples(Network(model, protocols[0], torch.device("cpu")), samples, protocols))
    assert len(model.shown) == 1
    for protocol, result in zip(protocols, gather(outcomes, protocols), strict=True):
        alone = evaluate(Model(), samples, protocol)
        assert (result.metrics, result.skipped) == (alone.metrics, alone.skipped) == (alone.metrics, ("b",))


@pytest.mark.parametrize("processes", [1, 2, 3, 7])
def test_uneven_shares_of_processes_give_the_same_result(processes):
    samples = [empty("x"), *(sample(str(i), i) for i in range(4))]
    network = Network(Model(), ROAD, torch.device("cpu"))
    parts = [list(score_samples(network, samples[rank::processes], [ROAD])) for rank in range(processes)]
    assert [outcome.name for outcome in interleave(parts)] == [one.name for one in samples]
    together, alone = gather(interleave(parts), [ROAD])[0], evaluate(Model(), samples, ROAD)
    assert together.as_dict() | {"seconds": 0} == alone.as_dict() | {"seconds": 0}


def test_frames_known_to_have_no_truth_are_counted_and_named():
    network = Network(Model(), ROAD, torch.device("cpu"))
    (result,) = gather(score_samples(network, [sample("a"), empty("b")], [ROAD]), [ROAD], without_truth=["c", "d"])
    assert (result.skipped, result.as_dict()["skipped"]) == (("b", "c", "d"), 3)


def test_an_image_smaller_than_the_model_takes_is_refused_unless_it_is_enlarged():
    with pytest.raises(UserError, match=r"^a is 24x32 \(height x width\), expected at least 32 both ways"):
        evaluate(create_dpt("dpt_micro"), [sample("a")], ROAD)
    assert evaluate(create_dpt("dpt_micro"), [sample("a")], ROAD, size=(32, 64)).images


def test_a_result_without_images_has_no_mean():
    assert all(math.isnan(value) for value in Evaluation(ROAD, ()).metrics.values())
