"""`python -m gradstyle`, and `accelerate launch -m gradstyle` for several processes."""

from .cli import app

app(prog_name="gradstyle")
