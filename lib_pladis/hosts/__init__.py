"""One adapter per way into a host's cross-attention, behind the protocol in `protocol.py`."""
