"""The playground's small text-to-image model: drawings, training, loading."""
