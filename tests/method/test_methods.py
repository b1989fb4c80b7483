import copy

import pytest
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import nn
from torch.testing import assert_close

from distill.data import Batch
from distill.engine.step import Learner, run_step
from distill.method import METHODS, DepthPull, FixedGhost, Guide, silog_loss, symptoms, within
from distill.method.base import StepResult
from distill.method.disdepth import DisDepth
from distill.method.features import FeatureDistillation
from distill.method.guide import fill_unlabelled
from distill.method.outputs import FillDistillation, OutputDistillation, Supervised

CHANNELS = (5, 7, 9, 11)


def guided(method, teacher, batch):
    image, _, valid = batch
    return method.consult(teacher, image, valid)


def take(method, teacher, batch, step=0):
    """What a step computes of a batch, whose truth it limits first."""
    image, depth, valid = batch
    batch = image, depth, method.limit(depth, valid)
    return method(*batch, guided(method, teacher, batch), step)


def reached(loss, module):
    """Names of the parameters of `module` that `loss` has a gradient for."""
    names, parameters = zip(*[(n, p) for n, p in module.named_parameters() if p.requires_grad], strict=True)
    grads = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
    return {name for name, grad in zip(names, grads, strict=True) if grad is not None and grad.any()}


def part(names, *prefixes):
    return {name for name in names if name.startswith(prefixes)}


def new(name, student, **options):
    """A method by name, with what it needs to know of the toy teacher."""
    torch.manual_seed(0)
    needed = {"teacher_channels": CHANNELS} if METHODS[name].needs_features else {}
    return METHODS[name](student, **needed, **options)


# --------------------------------------------------------------------------------------------------------- every method


@pytest.mark.parametrize("name", METHODS)
def test_a_step_gives_a_finite_loss_and_a_gradient_for_every_weight(name, any_student, teacher, batch):
    method = new(name, any_student)
    result = take(method, teacher, batch, step=0)
    result.loss.backward()
    assert torch.isfinite(result.loss)
    unreached = [key for key, p in method.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert unreached == []
    assert all(not value.requires_grad and torch.isfinite(value) for value in result.logs.values())
    assert result.logs["spread"] >= 0


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", METHODS)
def test_a_step_works_in_half_precision(name, student, teacher, batch, dtype):
    assert_half_precision_works(new(name, student), teacher, batch, dtype)


def test_every_student_learns_in_half_precision(any_student, teacher, batch):
    assert_half_precision_works(new("disdepth", any_student), teacher, batch, torch.bfloat16)


def assert_half_precision_works(method, teacher, batch, dtype):
    with torch.autocast("cpu", dtype):
        result = take(method, teacher, batch)
    assert result.loss.dtype == torch.float32
    result.loss.backward()
    assert all(torch.isfinite(p.grad).all() for p in method.parameters())
    assert_close(result.loss, take(method, teacher, batch).loss, rtol=0.1, atol=0)


@pytest.mark.parametrize("name", METHODS)
def test_a_step_never_changes_the_teacher(name, student, teacher, batch):
    before = {key: value.clone() for key, value in teacher.state_dict().items()}
    method = new(name, student)
    take(method, teacher, batch).loss.backward()
    assert all(torch.equal(value, before[key]) for key, value in teacher.state_dict().items())
    assert all(p.grad is None for p in teacher.parameters())


@pytest.mark.parametrize("name", METHODS)
def test_a_few_steps_lower_the_loss(name, student, teacher, batch):
    method = new(name, student)
    optimizer = torch.optim.Adam(method.parameters(), lr=1e-2)
    losses = []
    for step in range(25):
        optimizer.zero_grad()
        loss = take(method, teacher, batch, step).loss
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.95 * losses[0]


@pytest.mark.parametrize("name", ["output", "fill", "feature", "disdepth"])
def test_a_guide_that_lacks_what_is_needed_is_refused(name, student, batch):
    with pytest.raises(ValueError, match=r"needs the teacher's (depth|four maps) in its guide"):
        new(name, student)(*batch, Guide(), 0)


@pytest.mark.parametrize("name", METHODS)
def test_pictures_of_a_step_fit_the_image_and_carry_no_graph(name, student, teacher, batch):
    method = new(name, student.eval())
    maps = method.explain(batch[0], guided(method, teacher, batch))
    assert torch.equal(maps["student"], student(batch[0]))
    assert all(m.shape[:2] == (2, 1) and not m.requires_grad for m in maps.values())
    assert maps.keys() == ({"student", "ghost", "attention"} if name == "disdepth" else {"student"})


def test_the_whole_loss_is_the_sum_of_its_two_parts():
    assert StepResult(torch.tensor(2.0)).loss == 2
    assert StepResult(torch.tensor(2.0), torch.tensor(3.0)).loss == 5


# ---------------------------------------------------------------------------------------------------------------- truth


def test_truth_counts_strictly_within_the_limits():
    depth = torch.tensor([0.0, 1e-3, 0.5, 79.9, 80, 81]).view(1, 1, 1, 6)
    mask = within(depth, torch.ones_like(depth, dtype=torch.bool), (1e-3, 80.0))
    assert mask.flatten().tolist() == [False, False, True, True, False, False]


def test_what_the_mask_excludes_stays_excluded():
    depth = torch.full((1, 1, 1, 2), 5.0)
    valid = torch.tensor([True, False]).view(1, 1, 1, 2)
    assert torch.equal(within(depth, valid, (1e-3, 80.0)), valid)
    assert torch.equal(fill_unlabelled(depth, valid, Guide())[1], valid)


def test_an_image_without_truth_is_taught_by_the_teacher_at_every_pixel():
    depth, valid = torch.full((2, 1, 2, 2), 5.0), torch.zeros(2, 1, 2, 2, dtype=torch.bool)
    valid[0, 0, 0, 0] = True
    taught = torch.full((2, 1, 2, 2), 7.0)
    target, mask = fill_unlabelled(depth, valid, Guide(depth=taught))
    assert torch.equal(mask[0], valid[0])
    assert mask[1].all()
    assert target[0, 0, 0, 0] == 5
    assert target[1].eq(7).all()


@pytest.mark.parametrize("name", METHODS)
def test_a_method_knows_how_many_pixels_its_loss_counts(name, student):
    depth = torch.full((3, 1, 4, 6), 10.0)
    depth[0, 0, 0, :5] = 99  # beyond the student's 40 m
    valid = torch.ones_like(depth, dtype=torch.bool)
    valid[1], valid[2, 0, 1:] = False, False
    method = new(name, student)
    limited, everywhere = method.limit(depth, valid), torch.ones_like(valid)
    given = [(everywhere, ~everywhere), (~everywhere, everywhere), (valid.roll(1, 0), ~everywhere)]
    counted = [method.counted(limited, *pixels).item() for pixels in given]
    assert counted == ([3 * 24] * 2 + [24 + 24 + 6] if name == "fill" else [19 + 24 + 6, 19 + 6, 19 + 24 + 6])


def mean_square(pred, target, valid):
    """A loss whose mean over all pixels is the weighted mean of its parts, which SILog's square root is not."""
    return (pred - target)[valid].square().mean()


@pytest.mark.parametrize("name", METHODS)
def test_micro_batches_make_the_step_of_the_whole_batch(name, student, teacher, batch):
    image, depth, valid = batch
    depth[0, :, :40] = 99  # beyond the student's limits
    student.eval()  # BatchNorm would see other batches
    stepped = []
    for count in (2, 1):
        method = new(name, copy.deepcopy(student), task_loss=mean_square)
        parts = zip(*[tensor.split(count) for tensor in (image, depth, valid)], strict=True)
        run_step(sgd_learner(method, teacher), [Batch(*part, names=("",) * count) for part in parts], 0)
        stepped.append(method.state_dict())
    for key, value in stepped[0].items():
        assert_close(stepped[1][key], value, rtol=1e-4, atol=1e-6, msg=lambda message, key=key: f"{key}: {message}")


def sgd_learner(method, teacher):
    """What `distill train` makes of a method and its teacher, but for the optimizer."""
    optimizer = torch.optim.SGD(method.parameters(), lr=1e-3)
    schedule = torch.optim.lr_scheduler.ConstantLR(optimizer)
    return Learner(Accelerator(), method, method, teacher, optimizer, schedule)


def test_limits_are_those_of_the_student_or_open(student):
    assert Supervised(student).limits == (1.0, 40.0)
    student.min_depth = student.max_depth = None
    assert Supervised(student).limits == (1e-3, float("inf"))


# -------------------------------------------------------------------------------------------------------------- consult


class Counted(nn.Module):
    """A teacher that counts what it is asked for."""

    def __init__(self, teacher):
        super().__init__()
        self.teacher, self.asked = teacher, []

    def encode(self, image):
        self.asked.append("encode")
        return self.teacher.encode(image)

    def decode(self, features, size):
        self.asked.append("decode")
        return self.teacher.decode(features, size)


@pytest.mark.parametrize(
    ("name", "labelled", "unlabelled"),
    [
        ("supervised", [], ["encode", "decode"]),
        ("output", ["encode", "decode"], ["encode", "decode"]),
        ("fill", ["encode", "decode"], ["encode", "decode"]),
        ("feature", ["encode"], ["encode", "decode"]),
        ("disdepth", ["encode"], ["encode", "decode"]),
    ],
)
def test_a_teacher_is_asked_only_for_what_is_needed(name, labelled, unlabelled, student, teacher, batch):
    image, _, valid = batch
    some = valid.clone()
    some[1] = False
    for mask, expected in ((valid, labelled), (some, unlabelled)):
        counted = Counted(teacher)
        guide = new(name, student).consult(counted, image, mask)
        assert counted.asked == expected
        assert (guide.depth is not None) == ("decode" in expected)
        assert (guide.features is not None) == METHODS[name].needs_features


def test_what_a_teacher_says_is_what_it_computes(student, teacher, batch):
    guide = guided(new("output", student), teacher, batch)
    assert torch.equal(guide.depth, teacher(batch[0]))
    assert not guide.depth.requires_grad


def test_without_a_teacher_there_is_no_guide(student, batch):
    assert new("supervised", student).consult(None, batch[0], batch[2]) == Guide()


@pytest.mark.parametrize("name", ["output", "fill", "feature", "disdepth"])
def test_images_without_any_truth_can_be_learnt_from(name, student, teacher, batch):
    image, depth, valid = batch
    blind = (image, torch.zeros_like(depth), torch.zeros_like(valid))
    method = new(name, student)
    result = take(method, teacher, blind)
    result.loss.backward()
    expected = silog_loss(student(image), teacher(image), torch.ones_like(valid))
    assert_close(result.logs["task"], expected.detach())
    assert all(p.grad.isfinite().all() for p in method.parameters())


# ------------------------------------------------------------------------------------------------------------- formulas


def test_supervised_is_the_task_loss_alone(student, batch):
    image, depth, valid = batch
    result = Supervised(student)(image, depth, valid, Guide(), 0)
    assert_close(result.loss, silog_loss(student(image), depth, valid))
    assert result.image_loss is None


def test_output_distillation_adds_the_loss_against_the_teacher_over_every_pixel(student, teacher, batch):
    image, depth, valid = batch
    result = take(OutputDistillation(student, pull=DepthPull(0.3)), teacher, batch)
    pred, everywhere = student(image), torch.ones_like(valid)
    assert_close(result.pixel_loss, silog_loss(pred, depth, valid))
    assert_close(result.image_loss, 0.3 * silog_loss(pred, teacher(image), everywhere))


@pytest.mark.parametrize("name", ["output", "feature", "disdepth"])
def test_good_labels_add_the_teachers_depth_and_the_gradients_of_its_logarithm(name, student, teacher, batch):
    pull = DepthPull(0.3, gradient_weight=0.5)
    plain = take(new(name, student, **({"pull": DepthPull(0)} if name == "output" else {})), teacher, batch)
    options = {"pull": pull} if name == "output" else {"depth_pull": pull}
    result = take(new(name, student, **options), teacher, batch)
    pred, taught = student(batch[0]), teacher(batch[0])
    gap = pred.log() - taught.log()
    steps = [gap[..., ::k, ::k] for k in (1, 2, 4, 8)]
    matching = sum((g.diff(dim=-1).abs().sum() + g.diff(dim=-2).abs().sum()) / g.numel() for g in steps)
    added = 0.3 * silog_loss(pred, taught, torch.ones_like(batch[2])) + 0.5 * matching
    assert_close(result.student_loss, plain.student_loss + added)
    assert part(reached(result.image_loss, student), "decoder")


def test_a_constant_factor_between_student_and_teacher_costs_no_gradient_matching(student, batch):
    depth = batch[1].clamp(min=1)
    pull, known = DepthPull(0, gradient_weight=1), torch.ones_like(batch[2])
    loss = pull.loss(3 * depth, Guide(depth=depth, known=known), silog_loss)
    assert_close(loss, torch.tensor(0.0), atol=1e-5, rtol=0)


def test_filling_takes_the_teacher_where_nothing_was_measured_or_the_truth_is_out_of_range(student, teacher, batch):
    image, depth, valid = batch
    depth[:, :, :32] = 99  # beyond the student's 40 m
    result = take(FillDistillation(student), teacher, (image, depth, valid))
    filled = torch.where(valid & (depth < 40), depth, teacher(image))
    assert_close(result.loss, silog_loss(student(image), filled, torch.ones_like(valid)))


def test_feature_distillation_is_the_mean_square_of_projected_maps_against_the_teachers(student, teacher, batch):
    image, depth, valid = batch
    method = FeatureDistillation(student, teacher_channels=CHANNELS, kd_weight=0.2)
    result = take(method, teacher, batch)
    features = student.encode(image)
    pairs = zip(method.projections, features, teacher.encode(image), strict=True)
    kd = sum((project(mine) - theirs).square().mean() for project, mine, theirs in pairs)
    assert_close(result.pixel_loss, silog_loss(student.decode(features, (64, 96)), depth, valid))
    assert_close(result.image_loss, 0.2 * kd)


def test_projected_maps_are_brought_to_the_teachers_grid(student, teacher, batch):
    image, depth, valid = batch
    coarse = [F.avg_pool2d(t, 2, ceil_mode=True) for t in teacher.encode(image)]
    method = FeatureDistillation(student, teacher_channels=CHANNELS)
    assert torch.isfinite(method(image, depth, valid, Guide(coarse), 0).loss)


def test_feature_distillation_waits_for_its_warm_up_but_uses_every_weight(student, teacher, batch):
    method = FeatureDistillation(student, teacher_channels=CHANNELS, warmup_steps=3)
    waiting, begun = (take(method, teacher, batch, step).image_loss for step in (2, 3))
    assert waiting == 0 < begun
    waiting.backward()
    assert all(p.grad is not None and not p.grad.any() for p in method.projections.parameters())


@pytest.mark.parametrize("junk", [torch.inf, torch.nan])
@pytest.mark.parametrize("name", ["feature", "disdepth"])
def test_a_teachers_map_that_is_not_finite_does_the_student_no_harm(name, student, teacher, batch, junk):
    method = new(name, student)
    maps = teacher.encode(batch[0])
    maps[2][0, 0, 0, 0] = junk
    result = method(*batch, Guide(maps), 100)
    assert torch.isfinite(result.student_loss)
    result.loss.backward()
    assert all(p.grad.isfinite().all() for p in method.student.parameters())
    assert 0 < result.logs["teacher_lost"] < 1
    assert "teacher_lost" in symptoms({key: value.item() for key, value in result.logs.items()} | {"task": 1.0})


@pytest.mark.parametrize("name", ["output", "fill"])
def test_what_is_not_finite_of_a_teachers_depth_is_left_out(name, student, teacher, batch):
    method, image = new(name, student), batch[0]
    depth = teacher(image).detach()
    known = method(*batch, Guide(depth=depth), 0).loss
    depth[0, 0, :2] = torch.nan
    result = method(*batch, Guide(depth=depth), 0)
    assert torch.isfinite(result.loss)
    assert result.loss != known
    assert result.logs["teacher_lost"] > 0


def test_feature_distillation_reaches_the_encoder_and_its_projections_and_no_decoder(student, teacher, batch):
    method = FeatureDistillation(student, teacher_channels=CHANNELS)
    result = take(method, teacher, batch)
    every = {name for name, _ in method.named_parameters()}
    assert reached(result.pixel_loss, method) <= part(every, "student.")
    assert reached(result.image_loss, method) <= part(every, "student.encoder.", "projections.")
    assert part(reached(result.image_loss, method), "student.encoder.")


# ------------------------------------------------------------------------------------------------------------- disdepth


@pytest.fixture
def disdepth(any_student):
    torch.manual_seed(0)
    method = DisDepth(any_student, teacher_channels=CHANNELS, kd_weight=0.5, warmup_steps=2, window=4)
    for fam in method.fam:  # branches of some size, or what they do would be lost in rounding
        nn.init.normal_(fam.attention.proj.weight, std=0.1)
        nn.init.normal_(fam.mlp.fc2.weight, std=0.1)
    return method


def test_the_loss_is_that_of_its_equations(disdepth, teacher, batch):
    image, depth, valid = batch
    student = disdepth.student.eval()
    result = take(disdepth, teacher, batch, step=2)
    features = student.encode(image)
    z = [fam(t, f.shape[-2:]) for fam, t, f in zip(disdepth.fam, teacher.encode(image), features, strict=True)]
    a, y = zip(*[lam(level) for lam, level in zip(disdepth.lam, z, strict=True)], strict=True)
    low, high = disdepth.limits
    usable = valid & (depth > low) & (depth < high)
    task = silog_loss(student.decode(features, (64, 96)), depth, usable)
    ghost = silog_loss(student.decode(list(y), (64, 96)), depth, usable)
    kd = sum((a[i] * z[i] - a[i] * features[i]).square().mean() for i in range(4))
    assert_close(result.pixel_loss, task)
    assert_close(result.ghost_loss, ghost)
    assert_close(result.image_loss, 0.5 * kd)
    assert_close(result.logs["ghost"], ghost.detach())


def test_the_three_losses_do_not_leak_into_each_other(disdepth, teacher, batch):
    seen = []

    def task_loss(pred, target, valid):
        seen.append((pred, silog_loss(pred, target, valid)))
        return seen[-1][1]

    disdepth.task_loss = task_loss
    result = take(disdepth, teacher, batch, step=2)
    pred = disdepth.student(batch[0])
    (task,) = [loss for depth, loss in seen if torch.equal(depth, pred)]
    (ghost,) = [loss for depth, loss in seen if not torch.equal(depth, pred)]
    every = {name for name, _ in disdepth.named_parameters()}
    by_task, by_ghost, by_kd = (reached(loss, disdepth) for loss in (task, ghost, result.image_loss))

    assert by_task <= part(every, "student.")
    assert part(by_task, "student.encoder.")
    assert part(by_task, "student.decoder.")

    assert by_ghost <= part(every, "fam.", "lam.")
    assert {name.split(".")[0] + name.split(".")[1] for name in by_ghost} == {
        f"{m}{i}" for m in ("fam", "lam") for i in range(4)
    }

    assert by_kd <= part(every, "student.encoder.")
    assert by_kd


def test_ghost_and_teacher_leave_the_students_running_statistics_alone(any_student, teacher, batch):
    alone, together = any_student, copy.deepcopy(any_student)
    take(new("supervised", alone), teacher, batch)
    take(new("disdepth", together), teacher, batch)
    expected = dict(alone.named_buffers())
    assert all(torch.equal(value, expected[name]) for name, value in together.named_buffers())


def test_gradients_of_the_student_before_the_warm_up_are_those_of_supervised_training(student, teacher, batch):
    alone, together = student, copy.deepcopy(student)
    take(new("supervised", alone), teacher, batch).loss.backward()
    take(new("disdepth", together, warmup_steps=1), teacher, batch).loss.backward()
    for mine, theirs in zip(together.parameters(), alone.parameters(), strict=True):
        assert_close(mine.grad, theirs.grad)


def test_distillation_waits_for_its_warm_up(disdepth, teacher, batch):
    waiting, begun = (take(disdepth, teacher, batch, step) for step in (1, 2))
    assert waiting.image_loss is None
    assert "kd" not in waiting.logs
    assert begun.image_loss > 0
    assert_close(begun.image_loss.detach(), 0.5 * begun.logs["kd"])


def test_acclimation_and_attention_learn_from_the_first_step(disdepth, teacher, batch):
    names = reached(take(disdepth, teacher, batch, step=0).loss, disdepth)
    assert part(names, "fam.")
    assert part(names, "lam.")


def test_without_lam_every_position_counts_1(student, teacher, batch):
    method = new("disdepth", student.eval(), lam=False)
    guide = guided(method, teacher, batch)
    result = method(*batch, guide, 0)
    features = student.encode(batch[0])
    levels = method.acclimate(guide.features, features)
    assert all(level.attention is None and level.y is level.z for level in levels)
    gaps = [(level.z - f).square().mean() for level, f in zip(levels, features, strict=True)]
    assert_close(result.logs["kd"], sum(gaps).detach())
    assert not [name for name, _ in method.named_parameters() if name.startswith("lam")]
    assert not [key for key in result.logs if key.startswith("lam")]
    assert method.explain(batch[0], guide).keys() == {"student", "ghost"}


def test_what_attention_and_acclimation_do_is_logged_for_every_level(disdepth, teacher, batch):
    logs = take(disdepth, teacher, batch).logs
    for stride in (4, 8, 16, 32):
        assert 0 < logs[f"lam_entropy_{stride}"] <= 1 + 1e-6
        assert 0 < logs[f"lam_coverage_{stride}"] <= 1
        assert 0 < logs[f"fam_change_{stride}"] < 10


@pytest.mark.parametrize("name", ["feature", "disdepth"])
def test_gradients_of_task_and_distillation_are_compared_during_backward(name, student, teacher, batch):
    method, maps = new(name, student, kd_weight=0.5), []
    method.student.encoder[-1].register_forward_hook(lambda *inputs: maps.append(inputs[-1]))
    result = take(method, teacher, batch)
    losses = (result.pixel_loss, result.image_loss)
    task, kd = (torch.autograd.grad(loss, maps[-1], retain_graph=True)[0] for loss in losses)
    result.loss.backward()
    assert {key for key in result.logs if "kd_" in key} == {
        f"kd_{what}_{stride}" for what in ("ratio", "cosine") for stride in (4, 8, 16, 32)
    }
    assert_close(result.logs["kd_ratio_32"], kd.norm() / task.norm())
    assert_close(result.logs["kd_cosine_32"], F.cosine_similarity(task.flatten(), kd.flatten(), dim=0))


def test_fine_maps_attend_in_windows_and_coarse_ones_everywhere(student):
    method = new("disdepth", student, window=6)
    assert [fam.attention.window for fam in method.fam] == [6, 6, None, None]


def test_a_teacher_on_another_grid_is_brought_to_the_students(disdepth, teacher, batch):
    image, depth, valid = batch
    coarse = teacher.encode(F.interpolate(image, size=(32, 64)))
    result = disdepth(image, depth, valid, Guide(coarse), 2)
    assert torch.isfinite(result.loss)


@pytest.mark.parametrize("name", ["feature", "disdepth"])
def test_maps_can_be_compared_without_their_scale(name, student, teacher, batch):
    kd = {}
    for normalise in (False, True):
        method = new(name, copy.deepcopy(student), kd_normalise=normalise)
        maps = [torch.randn(m.shape, generator=torch.Generator().manual_seed(0)) for m in teacher.encode(batch[0])]
        kd[normalise] = [method(*batch, Guide(one), 0).logs["kd"] for one in (maps, [2 * m + 3 for m in maps])]
    assert not torch.isclose(*kd[False], rtol=0.1)
    if name == "feature":  # FAM would answer other maps by other ones
        assert_close(*kd[True], rtol=1e-3, atol=0)
    assert not torch.isclose(kd[False][0], kd[True][0], rtol=0.1)


def test_a_fixed_ghost_takes_the_place_of_the_students_decoder(student, teacher, batch):
    trained = copy.deepcopy(student)
    method = new("disdepth", student, ghost=FixedGhost(trained))
    before = take(method, teacher, batch).logs["ghost"]
    with torch.no_grad():
        for parameter in student.decoder.parameters():
            parameter.mul_(1.2)
    assert_close(take(method, teacher, batch).logs["ghost"], before)
    names = reached(take(method, teacher, batch).loss, method)
    assert part(names, "fam.")
    assert not part(names, "ghost.")


def test_features_that_carry_a_graph_give_the_teacher_no_gradient(student, teacher, batch):
    image, depth, valid = batch
    features = [f.clone().requires_grad_() for f in teacher.encode(image)]
    new("disdepth", student)(image, depth, valid, Guide(features), 0).loss.backward()
    assert all(f.grad is None for f in features)


def test_the_teachers_depth_is_brought_within_the_students_limits(student):
    class FarSighted(nn.Module):
        def encode(self, image):
            return [image]

        def decode(self, features, size):
            return torch.cat([torch.zeros(1, 1, *size), torch.full((1, 1, *size), 500.0)])

    method = METHODS["output"](student)
    guide = method.consult(FarSighted(), torch.rand(2, 3, 32, 32), torch.ones(2, 1, 32, 32, dtype=torch.bool))
    low, high = method.limits
    assert guide.depth.amin() == pytest.approx(low)
    assert guide.depth.amax() == pytest.approx(high)
