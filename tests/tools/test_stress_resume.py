import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))
from stress_resume import stress


def test_a_run_that_is_killed_at_random_moments_ends_as_one_that_is_left_alone(tmp_path):
    assert len(list(stress(tmp_path, kills=3, seed=1))) == 3
