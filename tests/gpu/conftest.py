"""Options of the gate."""


def pytest_addoption(parser):
    parser.addoption("--whole", action="store_true", help="the whole matrix of kernels, hours")
    parser.addoption("--table", action="store_true", help="write what was compiled to docs/kernels.md")
