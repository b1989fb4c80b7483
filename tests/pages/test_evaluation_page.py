import io

from rich.console import Console

from distill.evaluation import MEASURES, PROTOCOLS, Evaluation, ImageScore
from distill.pages.evaluation_page import remarks, side_by_side


def test_protocols_stand_side_by_side_and_none_is_best():
    image = ImageScore("a", dict.fromkeys(MEASURES, 1.884), 11514, 0)
    protocols = [PROTOCOLS["kitti_eigen_garg_kb"], PROTOCOLS["kitti_eigen_garg_full"]]
    console = Console(file=io.StringIO(), width=80, force_terminal=True)
    console.print(side_by_side([Evaluation(protocol, (image,)) for protocol in protocols], "runs/[b]"))
    text = console.file.getvalue()
    for word in ("runs/[b]", "garg_kb", "garg_full", "11514", "1.884", *(one.fingerprint for one in protocols)):
        assert word in text
    assert "rows do not compare" in text
    assert not any("\x1b[1m" in line for line in text.splitlines() if "1.884" in line)


def test_images_with_too_little_truth_to_align_to_are_named_with_how_much_that_is():
    image = ImageScore("a", dict.fromkeys(MEASURES, 1.0), 9, 0)
    plain, aligned = (remarks(Evaluation(PROTOCOLS[name], (image,), ("b",)))[0] for name in ("ibims1", "ibims1_affine"))
    assert plain == "1 images without ground truth in range were skipped: b"
    assert "in range (fewer than 10 pixels) were skipped: b" in aligned
