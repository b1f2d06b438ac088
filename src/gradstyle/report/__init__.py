"""Runs of the benchmark as pages, Markdown, JSON and cards."""
