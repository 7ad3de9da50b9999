"""The command `bcodec`, and `python -m bcodec`: from the first moment on a signal ends it in one line."""

import os

from bcodec.cli.signals import Stopped, signals_raised


def main() -> int:
    """Run the command of sys.argv, and return its exit status."""
    # Before torch is loaded. Threads that spin while they wait starve one another where others want the
    # cores, too: beside four busy processes three frames took 104 s in place of 26. Without any spinning a
    # quiet machine would take 1.3 to 1.5 times as long.
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    try:
        with signals_raised():
            from bcodec.cli.main import main as run
    except Stopped as stop:
        return stop.end()
    return run()


if __name__ == "__main__":  # processes of --jobs import it, too
    raise SystemExit(main())
