"""`python -m bcodec`: the command where there is no script of that name."""

from bcodec.cli.main import main

if __name__ == "__main__":  # processes of --jobs import it, too
    raise SystemExit(main())
