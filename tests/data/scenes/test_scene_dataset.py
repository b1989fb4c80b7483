import re

import numpy as np
import pytest
import torch

from distill.data.scenes.geometry import Material, Pinhole, Solid, corners, intersect, rotation, screen_rects
from distill.data.scenes.layout import Ground, Layout
from distill.data.scenes.scene_dataset import SCENE_KINDS, SceneDataset, kinect_like_holes, kitti_like_sparse, render
from distill.data.scenes.shading import surface_at, trace

LIMITS = {"road": 80.0, "room": 10.0}
kinds = pytest.mark.parametrize("kind", list(SCENE_KINDS))


@pytest.fixture(autouse=True)
def one_thread():
    """Scenes are made of small operations, and data loaders' workers have one thread each."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def camera(size=(48, 64), position=(0.0, -1.5, 0.0), turn=(0.0, 0.0, 0.0)):
    return Pinhole(position, rotation(*turn), 50.0, (31.5, 23.5), size)


def solid(shape, centre, half, yaw=0.0):
    return Solid(shape, centre, half, yaw, Material())


def aim(*direction, origin=(0.0, 0.0, 0.0)):
    """One ray, as (3, 1) origin and direction."""
    return torch.tensor(origin)[:, None], torch.tensor(direction, dtype=torch.float32)[:, None]


@kinds
def test_a_seed_decides_every_bit_whatever_is_rendered_between(kind):
    first = render(kind, 7)
    render(kind, 8)
    torch.rand(3)
    again = render(kind, 7)
    for name in ("image", "depth", "intrinsics", "grazing"):
        assert torch.equal(getattr(first, name), getattr(again, name))


@kinds
def test_rendering_leaves_the_global_random_state_alone(kind):
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002
    before = torch.get_rng_state(), np.random.get_state()[1].tolist()  # noqa: NPY002
    render(kind, 3, (32, 64))
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1] == np.random.get_state()[1].tolist()  # noqa: NPY002


@kinds
def test_seeds_differ_in_image_and_depth(kind):
    a, b = render(kind, 1), render(kind, 2)
    assert (a.image - b.image).abs().mean() > 0.02
    assert (a.depth - b.depth).abs().mean() > 0.1


@kinds
@pytest.mark.parametrize("seed", range(4))
def test_images_and_depths_keep_their_ranges(kind, seed):
    scene = render(kind, seed, (64, 200))
    assert scene.image.shape == (3, 64, 200)
    assert scene.depth.shape == scene.grazing.shape == (64, 200)
    assert scene.image.dtype == scene.depth.dtype == scene.grazing.dtype == torch.float32
    assert scene.intrinsics.dtype == torch.float64
    for values, limit in ((scene.image, 1), (scene.depth, LIMITS[kind]), (scene.grazing, 1)):
        assert values.min() >= 0
        assert values.max() <= limit
    assert scene.depth[scene.depth > 0].min() > 0.05
    assert (scene.depth > 0).float().mean() > 0.3
    assert scene.image.std() > 0.03


def test_the_sky_has_no_depth_and_does_not_graze():
    scene = render("road", 5)
    sky = scene.depth[:8] == 0
    assert sky.any()
    assert (scene.grazing[:8][sky] == 0).any()
    assert (scene.depth[-8:] > 0).all()


def test_focal_lengths_are_those_of_kitti_and_nyu():
    for kind, per_width in (("road", 721.5 / 1242), ("room", 518.86 / 640)):
        focal = np.array([render(kind, seed, (32, 100)).intrinsics[0, 0] for seed in range(5)]) / 100
        assert (abs(focal / per_width - 1) <= 0.1001).all()
        assert focal.std() > 0


def test_an_untilted_camera_sees_the_ground_at_height_times_focal_over_rows():
    eye = camera()
    land = Ground(20.0, 0.0, 0.0, 0.0, 0.0, [], [], (1.0, 1.0, 1.0))
    depth, index = trace(Layout(eye, 80.0, ground=land), eye.rays())
    rows = torch.arange(24, 48)
    torch.testing.assert_close(depth[24:], (1.5 * 50 / (rows - 23.5))[:, None].expand(24, 64))
    assert torch.isinf(depth[:24]).all()
    assert (index[:24] == -1).all()


@pytest.mark.parametrize(("slope", "crest"), [(0.1, 10.0), (-0.1, 10.0), (-0.06, 40.0)])  # the last hides its far side
def test_a_hill_bends_the_ground_at_its_crest_without_a_crack(slope, crest):
    eye = camera(size=(480, 64))
    land = Ground(crest, slope, 0.0, 0.0, 0.0, [], [], (1.0, 1.0, 1.0))
    rays = eye.rays()
    depth, _ = trace(Layout(eye, 80.0, ground=land), rays)
    seen = torch.isfinite(depth)
    height = (rays[1] * depth - 1.5)[seen]
    expected = -slope * (depth[seen] - crest).clamp(min=0)
    torch.testing.assert_close(height, expected, atol=1e-3, rtol=1e-4)
    assert (seen[1:] >= seen[:-1]).all()  # below the horizon every pixel is ground
    assert seen[-1].all()


def test_a_wall_face_on_has_one_depth_however_far_off_the_axis():
    eye = camera()
    depth, index = trace(Layout(eye, 80.0, [solid("box", (0.0, -1.5, 6.0), (9.0, 9.0, 1.0))]), eye.rays())
    torch.testing.assert_close(depth, torch.full((48, 64), 5.0))
    assert (index == 0).all()


@pytest.mark.parametrize("turn", [(0.3, 0.0, 0.0), (0.0, 0.2, 0.0), (0.2, -0.3, 0.1)])
def test_depth_lies_along_the_axis_of_a_turned_camera(turn):
    eye = camera(turn=turn)
    depth, _ = trace(Layout(eye, 80.0, [solid("inside", (0.0, -1.5, 0.0), (5.0, 5.0, 5.0))]), eye.rays())
    v, u = torch.meshgrid(torch.arange(48.0), torch.arange(64.0), indexing="ij")
    seen = torch.stack([(u - 31.5) / 50 * depth, (v - 23.5) / 50 * depth, depth])  # back-projected by the intrinsics
    world = torch.einsum("ij,jhw->ihw", torch.tensor(rotation(*turn), dtype=torch.float32), seen)
    torch.testing.assert_close(world.abs().amax(0), torch.full((48, 64), 5.0))


def test_a_turned_box_is_met_at_its_corner():
    near, far = intersect(*aim(0, 0, 1), solid("box", (0.0, 0.0, 10.0), (1.0, 1.0, 1.0), yaw=np.pi / 4))
    assert near.item() == pytest.approx(10 - 2**0.5, rel=1e-5)
    assert far.item() == pytest.approx(10 + 2**0.5, rel=1e-5)


@pytest.mark.parametrize(
    ("shape", "half", "direction", "hit"),
    [
        ("ellipsoid", (2.0, 2.0, 2.0), (0, 0, 1), 8.0),
        ("ellipsoid", (2.0, 1.0, 3.0), (0, 0, 1), 7.0),
        ("ellipsoid", (2.0, 2.0, 2.0), (0, 0, 2), 4.0),  # t counts directions, not metres
        ("cylinder", (2.0, 1.0, 2.0), (0, 0, 1), 8.0),
        ("cylinder", (2.0, 1.0, 2.0), (0, 0.1, 1), 8.0),
        ("roof", (2.0, 1.0, 1.0), (0, 0, 1), 9.0),
        ("box", (1.0, 1.0, 1.0), (0.05, 0, 1), 9.0),
    ],
)
def test_solids_are_met_where_a_hand_says(shape, half, direction, hit):
    near, far = intersect(*aim(*direction), solid(shape, (0.0, 0.0, 10.0), half))
    assert near.item() == pytest.approx(hit, rel=1e-5)
    assert far > near


@pytest.mark.parametrize("shape", ["box", "ellipsoid", "cylinder", "roof"])
@pytest.mark.parametrize("direction", [(0.3, 0, 1), (0, 0.3, 1), (0, -0.3, 1)])
def test_rays_beside_a_solid_miss_it(shape, direction):
    near, far = intersect(*aim(*direction), solid(shape, (0.0, 0.0, 10.0), (1.0, 1.0, 1.0)))
    assert near > far


def test_a_cylinder_is_closed_at_the_top():
    near, _ = intersect(*aim(0, 0.5, 1), solid("cylinder", (0.0, 6.0, 10.0), (2.0, 1.0, 2.0)))
    assert near.item() == pytest.approx(10.0, rel=1e-5)  # the lid is 5 m below, reached on the axis


def test_a_roof_is_narrow_at_its_ridge():
    roof = solid("roof", (0.0, 0.0, 10.0), (2.0, 1.0, 1.0))
    inside, outside = (intersect(*aim(x, 0, 0, origin=(-x * 10, y, 10.0)), roof) for x, y in ((1.0, 0.9), (1.0, -0.9)))
    assert (inside[1] - inside[0]).item() == pytest.approx(3.8, rel=1e-4)
    assert (outside[1] - outside[0]).item() == pytest.approx(0.2, rel=1e-3)


def test_the_nearest_of_several_solids_is_seen():
    eye = camera()
    walls = [solid("box", (0.0, -1.5, z), (9.0, 9.0, 0.5)) for z in (8.0, 4.0, 6.0)]
    depth, index = trace(Layout(eye, 80.0, walls), eye.rays())
    assert (index == 1).all()
    torch.testing.assert_close(depth, torch.full((48, 64), 3.5))


def test_culling_by_rectangle_loses_no_pixel():
    draw = np.random.default_rng(0)
    eye = camera(turn=(0.1, -0.2, 0.05))
    solids = [
        solid(shape, tuple(draw.uniform((-4, -4, -1), (4, 4, 7))), tuple(draw.uniform(0.2, 2, 3)), draw.uniform(-3, 3))
        for shape in ("box", "cylinder", "ellipsoid", "roof") * 8
    ]
    origin = torch.tensor(eye.position)[:, None, None]
    for body, rect in zip(solids, screen_rects(corners(solids), eye), strict=True):
        near, far = intersect(origin, eye.rays(), body)
        hit = (near <= far) & (near > 0.05)
        if rect is not None:
            hit[rect] = False
        assert not hit.any()


def test_normals_point_out_of_every_shape_towards_the_camera():
    eye = camera(size=(47, 63), position=(0.0, 0.0, 0.0))
    for shape in ("box", "ellipsoid", "cylinder"):
        layout = Layout(eye, 10.0, [solid(shape, (0.01, 0.01, 5.0), (1.0, 1.0, 1.0))])
        depth, index = trace(layout, eye.rays())
        surface = surface_at(layout, eye.rays(), depth.clamp(max=100), index)
        torch.testing.assert_close(surface.normal[:, 23, 31], torch.tensor([0.0, 0, -1]), atol=0.06, rtol=0)
        torch.testing.assert_close(surface.normal.norm(dim=0), torch.ones(47, 63))


@kinds
def test_intrinsics_take_pixels_to_space_and_back(kind):
    scene = render(kind, 4, (48, 160))
    v, u = torch.meshgrid(torch.arange(48.0), torch.arange(160.0), indexing="ij")
    pixels = torch.stack([u, v, torch.ones_like(u)]).double()
    points = torch.einsum("ij,jhw->ihw", scene.intrinsics.inverse(), pixels) * scene.depth
    again = torch.einsum("ij,jhw->ihw", scene.intrinsics, points)
    seen = scene.depth > 0
    torch.testing.assert_close((again[:2] / again[2])[:, seen], pixels[:2, seen])


@kinds
def test_a_set_camera_sees_the_scene_that_the_seed_decides(kind):
    matrix = np.array([[70.0, 0, 60], [0, 70, 30], [0, 0, 1]])
    double = np.diag([2.0, 2, 1]) @ matrix
    small, large = render(kind, 4, (48, 128), intrinsics=matrix), render(kind, 4, (96, 256), intrinsics=double)
    assert (large.intrinsics.numpy() == double).all()
    torch.testing.assert_close(large.depth[::2, ::2], small.depth)


@pytest.mark.parametrize("size", [(96, 320), (352, 1216)])
def test_a_lidar_keeps_a_few_percent_low_in_the_image(size):
    for seed in range(5):
        full = torch.full(size, 7.0)
        kept = kitti_like_sparse(full, seed)
        assert 0.03 < (kept > 0).float().mean() < 0.08
        assert ((kept == 0) | (kept == full)).all()
        assert not kept[: int(0.35 * size[0])].any()
    rows = (kept > 0).any(1)
    assert 0.2 < rows.float().mean() < 0.35 or size[0] > 96  # whole rows between beams stay empty
    assert not torch.equal(kept, kitti_like_sparse(full, seed + 1))


def test_a_depth_camera_keeps_most_pixels_but_not_the_edges():
    shares = []
    for seed in range(8):
        scene = render("room", seed)
        kept = kinect_like_holes(scene, seed)
        assert ((kept == 0) | (kept == scene.depth)).all()
        shares.append((kept > 0).float().mean().item())
        jump = scene.depth.diff(dim=1).abs() > 0.2 * scene.depth[:, 1:]
        assert not kept[:, 1:][jump].any()
    assert min(shares) > 0.6
    assert max(shares) < 0.98


def test_a_depth_camera_loses_dark_and_grazing_surfaces():
    scene = render("room", 1)
    flat = torch.ones_like(scene.depth)
    bright, dark = torch.ones_like(scene.image), torch.zeros_like(scene.image)

    def share(image, grazing):
        held = type(scene)(image, flat, scene.intrinsics, grazing * flat, scene.surface)
        return (kinect_like_holes(held, 0) > 0).float().mean().item()

    assert share(bright, 1.0) > 0.95
    assert share(bright, 0.01) < 0.3
    assert share(dark, 0.3) < 0.6


@kinds
def test_a_dataset_yields_samples_and_sparse_ones_have_less_depth(kind):
    data = SceneDataset(kind, 5, seed=3, size=(96, 160))
    dense, sparse = data[4], SceneDataset(kind, 5, seed=3, size=(96, 160), sparse=True)[4]
    assert (len(data), data.max_depth, dense.name) == (5, LIMITS[kind], f"{kind}-0000000004")
    for sample in (dense, sparse):
        assert (sample.image.shape, sample.image.dtype) == ((96, 160, 3), np.uint8)
        assert (sample.depth.dtype, sample.intrinsics.shape) == (np.float32, (3, 3))
        assert (sample.valid == (sample.depth > 0)).all()
    assert (dense.image == sparse.image).all()
    assert (dense.depth[sparse.valid] == sparse.depth[sparse.valid]).all()
    assert dense.valid.mean() > 0.3
    assert sparse.valid.mean() < (0.09 if kind == "road" else dense.valid.mean())


def test_datasets_of_different_seeds_share_no_scene():
    a, b = (SceneDataset("road", 3, seed, (32, 64)) for seed in (0, 1))
    images = {x[i].image.tobytes() for x in (a, b) for i in range(3)}
    assert len(images) == 6


@pytest.mark.parametrize("index", [-1, 3])
def test_an_index_out_of_range_is_refused(index):
    with pytest.raises(IndexError, match=f"{index} of 3"):
        SceneDataset("room", 3, 0, (32, 64))[index]


def test_an_unknown_kind_is_refused_with_the_known_ones():
    for refused in (lambda: render("sea", 0), lambda: SceneDataset("sea", 1, 0, (32, 64))):
        with pytest.raises(ValueError, match=re.escape("'sea'; known: road, room")):
            refused()
