import pytest
import torch

from distill.ablation.preset import load_preset
from students import create_student, save_student
from teachers.model import is_relative
from tests.tools.conftest import TOOLS

PRESETS = TOOLS.parent / "configs" / "ablations"


def test_the_copy_of_a_trained_model_has_its_depth_at_another_scale_and_shift_of_every_image(
    tool, tmp_path, monkeypatch
):
    teacher = create_student("dpt_micro", checkpoint="dpt_micro", pretrained=False, max_depth=80.0)
    save_student(teacher, tmp_path / "student", {})
    monkeypatch.setenv("RELATIVE_COPY_OF", str(tmp_path))
    copy, images = tool.trained(), torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    assert is_relative(copy)
    with torch.no_grad():
        inverse, given = teacher.eval()(images).reciprocal(), copy.eval()(images)
    scales = [(one.amax() - one.amin()) / (own.amax() - own.amin()) for one, own in zip(given, inverse, strict=True)]
    assert not torch.isclose(*scales, rtol=0.01)
    for one, own, scale in zip(given, inverse, scales, strict=True):
        torch.testing.assert_close(one - one.amin(), scale * (own - own.amin()), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", ["relative_teacher", "relative_teacher_nyu"])
def test_the_presets_compare_each_method_with_its_own_copy(name, tool):
    preset = load_preset(PRESETS / f"{name}.yaml")
    for row in ("output", "fill"):
        factory = preset.config(f"{row}_relative", 0, {}).teacher.name.partition(":")[2]
        assert callable(getattr(tool, factory))
        assert preset.twins[f"{row}_relative"] == [row]
