import json

import pytest

from distill.errors import UserError
from distill.evaluation import MEASURES, student_result

METRICS = dict.fromkeys(MEASURES, 0.1)
RESULT = {"protocol": "nyu_eigen", "fingerprint": "abc", "metrics": METRICS, "per_image": [{"name": "a", **METRICS}]}
OF_A_RUN = [{**RESULT, "role": "teacher", "metrics": dict.fromkeys(MEASURES, 0.01)}, {**RESULT, "role": "student"}]


def write(path, content):
    path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize("content", [RESULT, OF_A_RUN])
def test_a_models_result_is_that_of_its_evaluation_or_the_students_of_its_run(tmp_path, content):
    result = student_result(write(tmp_path / "x.json", content))
    assert (result.protocol, result.fingerprint, result.metrics) == ("nyu_eigen", "abc", METRICS)
    assert result.images == {"a": METRICS}


def test_several_results_without_a_student_are_refused(tmp_path):
    with pytest.raises(UserError, match="holds 2 results; give a file with one protocol's"):
        student_result(write(tmp_path / "x.json", [RESULT, RESULT]))


@pytest.mark.parametrize("content", [{}, 3, {**RESULT, "metrics": {"rmse": 1}}, {**RESULT, "metrics": "a"}])
def test_a_file_that_holds_no_result_is_refused_with_the_command_that_writes_one(tmp_path, content):
    with pytest.raises(UserError, match=r"x\.json is not a file of results.*distill evaluate --json"):
        student_result(write(tmp_path / "x.json", content))


def test_what_is_no_json_or_not_there_is_refused(tmp_path):
    (tmp_path / "x.json").write_text("{")
    with pytest.raises(UserError, match="is not a file of results"):
        student_result(tmp_path / "x.json")
    with pytest.raises(UserError, match="no results at .*absent"):
        student_result(tmp_path / "absent.json")
