"""The web UI's side: everything that imports gradio or the host's `modules`."""
