import sys
from argparse import Namespace

import pytest
import timm
import torch
from torch import nn

from teachers import create_teacher


@pytest.fixture(scope="module")
def teacher():
    return create_teacher("dpt_micro")


@pytest.fixture
def args():
    return Namespace(name="dpt_micro", device="cpu", dtype="float32", batch=2, rounds=2)


def test_a_row_has_difference_and_times_of_a_peer(tool, teacher, args):
    def doubled(image):
        return 2 * tool.raw_output(teacher)(image)

    peer = tool.Peer(nn.Identity(), doubled, teacher)
    with torch.no_grad():
        row = tool.measure("64x96", {"other": peer}, {"ours": tool.raw_output(teacher)}, args)
    assert row["peers"]["other"]["difference"] == pytest.approx(0.5)
    assert row["peers"]["other"]["ratio"] == pytest.approx(row["ms"]["ours"] / row["ms"]["other"], abs=1e-3)
    assert row["ms"].keys() == row["tflops_per_s"].keys() == {"ours", "other"}
    table = tool.markdown({"rows": [row], "dtype": "float32"})
    assert "| 64x96 | other |" in table
    assert table.endswith("dtype float32")


def test_equal_networks_do_not_differ(tool, teacher):
    image = torch.zeros(1, 3, 64, 64)
    maps = dict(enumerate(teacher.encode(image * 0.5 + 0.5)))
    peer = tool.Peer(nn.Identity(), tool.raw_output(teacher), teacher, maps)
    assert tool.differences(peer, image) == {"difference": 0, "maps": 0}
    maps[2] = 2 * maps[2]
    assert tool.differences(peer, image) == {"difference": 0, "maps": 0.5}


def test_without_rounds_nothing_is_timed(tool, teacher, args):
    args.rounds = 0
    peer = tool.Peer(nn.Identity(), tool.raw_output(teacher), teacher)
    with torch.no_grad():
        row = tool.measure("64x64", {"other": peer}, {"ours": tool.raw_output(teacher)}, args)
    assert row.keys() == {"size", "gflops", "peers"}
    assert "| 64x64 | other | " in tool.markdown({"rows": [row]})


def test_a_peer_that_refuses_a_size_is_left_out(tool, teacher, args):
    def square(image):
        raise ValueError("only 384x384")

    peer = tool.Peer(nn.Identity(), square, teacher)
    with torch.no_grad():
        row = tool.measure("64x96", {"other": peer}, {"ours": tool.raw_output(teacher)}, args)
    assert row["peers"] == {}
    assert list(row["ms"]) == ["ours"]


def test_another_timm_is_imported_and_put_back(tool, tmp_path):
    (tmp_path / "timm").mkdir()
    (tmp_path / "timm" / "__init__.py").write_text("__version__ = 'old'\n")
    with tool.imports_from([tmp_path]):
        import timm as older

        assert older.__version__ == "old"
    assert sys.modules["timm"] is timm
    assert str(tmp_path) not in sys.path


def test_the_attention_kernel_is_named(tool):
    name = tool.attention_kernel("dpt_hybrid", torch.device("cpu"), torch.float32)
    assert name == "flash_attention"
