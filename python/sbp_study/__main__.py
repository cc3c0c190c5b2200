"""`python -m sbp_study`."""

from .cli.main import run

if __name__ == "__main__":
    run()
