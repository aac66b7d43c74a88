"""The method itself, on tensors and numbers: it knows no network, no kernel and no web UI."""
