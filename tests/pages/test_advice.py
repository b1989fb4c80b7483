"""A finished run says where its student fails and what to do next."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from distill.engine.state import TrainState
from distill.pages.advice import what_next, where_it_fails


def part(abs_rel):
    return {"metrics": {"abs_rel": abs_rel}, "images": 1, "pixels": 9}


def results(student=0.2, teacher=None, near=0.1, far=0.15, edges=0.2, elsewhere=0.1):
    errors = {"a.png": 0.1, "b.png": 0.4, "c.png": 0.2}
    images = [SimpleNamespace(name=name, metrics={"abs_rel": error}) for name, error in errors.items()]
    breakdown = {"0-3 m": part(near), "3-10 m": part(far), "depth edges": part(edges), "elsewhere": part(elsewhere)}
    worst = sorted(images, key=lambda image: -image.metrics["abs_rel"])
    one = SimpleNamespace(
        metrics={"abs_rel": student}, breakdown=breakdown, images=images, worst=lambda count: worst[:count]
    )
    all_results = [SimpleNamespace(role="student", results=one)]
    if teacher is not None:
        all_results.insert(0, SimpleNamespace(role="teacher", results=SimpleNamespace(metrics={"abs_rel": teacher})))
    return all_results


def test_it_is_said_by_distance_at_edges_and_of_the_worst_images():
    distance, edges, worst = where_it_fails(results()[0].results)
    assert "0-3 m 0.1, 3-10 m 0.15" in distance
    assert "depth edges 0.2, elsewhere 0.1" in edges
    assert "b.png 0.4, c.png 0.2, a.png 0.1; the median 0.2" in worst


@pytest.mark.parametrize(
    ("given", "state", "advice"),
    [
        ([], TrainState(step=10), "data.hold_out=0.1"),
        (results(), TrainState(step=10, best_step=10), "more train.epochs"),
        (results(), TrainState(step=10, best_step=4), "step 4 of 10"),
        (results(teacher=0.1), TrainState(step=10, best_step=8), "larger student.backbone"),
        (results(far=0.3), TrainState(step=10, best_step=8), "what is far is the worst"),
        (results(edges=0.3), TrainState(step=10, best_step=8), "larger data.size"),
    ],
)
def test_each_sign_has_its_advice(given, state, advice):
    first, *others, last = what_next(given, state, Path("runs/a"))
    assert advice in first
    assert not others
    assert "distill export runs/a --output student.onnx" in last


def test_a_run_without_such_signs_says_how_to_use_it():
    (line,) = what_next(results(), TrainState(step=10, best_step=8), Path("runs/a"))
    assert line.startswith("use it: ")


def test_a_student_of_any_camera_is_used_with_its_users_own():
    (line,) = what_next(results(), TrainState(step=10, best_step=8), Path("runs/a b"), any_camera=True)[-1:]
    assert "'runs/a b' IMAGES --intrinsics" in line
    assert "--focal-px" in line
