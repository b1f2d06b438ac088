"""GradStyle."""
