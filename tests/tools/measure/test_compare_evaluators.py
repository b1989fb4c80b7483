import pytest


@pytest.mark.parametrize("name", ["KITTI, 16 % measured", "NYU, dense"])
def test_both_ways_agree_and_are_timed(tool, name):
    label, device, numpy, ours, times, whole, difference = tool.compare(name, "cpu", tool.numpy_errors, 1, 1)
    assert (label, device) == (name, "cpu")
    assert float(difference) < 1e-4  # NumPy computes in float32
    assert min(map(float, (numpy, ours, times, whole))) > 0


def test_a_toolkits_own_metrics_can_be_timed(tool, tmp_path):
    (tmp_path / "peer.py").write_text("def compute_errors(gt, pred):\n    return (gt - pred).mean(),\n")
    errors = tool.load_peer(tmp_path / "peer.py")
    assert tool.compare("NYU, dense", "cpu", errors, 1, 1)[-1] == "–"
