"""`bcodec verify`: whether a .bcv file is whole."""

from __future__ import annotations

import click

from bcodec.cli import arguments
from bcodec.cli.console import show
from bcodec.cli.failures import Command
from bcodec.cli.progress import Progress
from bcodec.crew import Jobs
from bcodec.pipeline.opening import CodedVideo
from bcodec.pipeline.stdio import open_input
from bcodec.pipeline.tally import in_frames


@click.command(cls=Command)
@click.argument("source", type=arguments.FILE, metavar="IN")
@arguments.decoding_jobs
@arguments.computing
def verify(*, source: str, jobs: Jobs, device: str, threads: int | None) -> None:
    """Decode the .bcv file IN (- is standard input) without output, and check that it is whole.

    Every picture is compared with the hash that the encoder took of it. Exit status 0 if all is as it was
    encoded, 1 if not.
    """
    with open_input(source) as file:
        coded = CodedVideo.open(file, source)
        from bcodec.pipeline.jobs import FEW_TO_DECODE, start_early

        start_early(jobs, device, coded.header.video, coded.total, FEW_TO_DECODE)
        from bcodec.pipeline.verify import verify_file

        networks = arguments.networks(device, threads)
        with Progress() as progress:
            tally = verify_file(coded, networks, jobs=jobs, follow=progress)
    show(f"{coded.name}: OK, {in_frames(tally.frames)}")
