from run_files import last_state, records

from distill.assembly.validation import Validation
from distill.engine import loop


def test_averages_are_logged_beside_a_run_that_stays_the_same(tool, train, finished, monkeypatch, assert_same):
    monkeypatch.setattr(loop, "run_step", tool.step_and_average)
    monkeypatch.setattr(Validation, "evaluate", tool.evaluate_all)
    monkeypatch.setattr(tool, "averages", {})
    run = train()
    assert_same(last_state(run)["module"], last_state(finished)["module"])
    logged = {one["kind"] for one in records(run) if one["step"] == 4}
    assert logged == {"train", "val", *tool.DECAYS}
