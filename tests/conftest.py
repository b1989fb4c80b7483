"""What tests share is loaded where tests run: a process that only hands them out would import PyTorch for nothing."""

import gc


def pytest_configure(config):
    if config.getoption("dist", "no") == "no":
        gc.disable()  # what is imported stays, and is looked through neither while it comes nor by any test
        config.pluginmanager.import_plugin("tiny_runs")


def pytest_collection_finish(session):
    gc.freeze()
    gc.enable()
