"""Options of the whole suite."""


def pytest_addoption(parser):
    parser.addoption("--webui", default="", help="URL of a running web UI for the acceptance and browser tests")
