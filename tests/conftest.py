"""What tests share is loaded where tests run: a process that only hands them out would import PyTorch for nothing."""


def pytest_configure(config):
    if config.getoption("dist", "no") == "no":
        config.pluginmanager.import_plugin("tiny_runs")
