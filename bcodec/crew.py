"""A crew shares the work on a video: processes of this machine, or workers of several machines."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol, TypeAlias, TypeVar

T = TypeVar("T")
R = TypeVar("R")
Made_co = TypeVar("Made_co", covariant=True)


class Crew(Protocol):
    """Those who share the work."""

    @property
    def size(self) -> int:
        """How many tasks are done at the same time."""

    def work(self, make: Callable[[], Callable[[T], R]], tasks: Iterable[T]) -> Generator[R, None, None]:
        """What `make()` makes of each task, in their order; each member of the crew calls `make` for itself.

        Tasks are taken as they are needed: a bounded number of tasks and results is held. All of these can be
        pickled. Close it to end the work. Raises what a task raises, and ProcessKilled where its worker dies.
        """


@dataclass(frozen=True)
class Auto:
    """As many processes of this machine as help, `threads` at most (None: as there are cores)."""

    threads: int | None = None


# So many processes of this machine, as many as help, or a crew that stands ready.
Jobs: TypeAlias = int | Auto | Crew


class Answer(Protocol[Made_co]):
    """What will be made of a task, as a Future has it."""

    def done(self) -> bool:
        """Whether `result` need not wait."""

    def result(self) -> Made_co:
        """Wait for it; raises what the task raises."""


def in_order(give: Callable[[T], Answer[R]], tasks: Iterable[T], ahead: Callable[[], int]) -> Iterator[R]:
    """What is made of each task that is given away, in their order; holds `ahead()` + 1 tasks or results."""
    answers: deque[Answer[R]] = deque()
    for task in tasks:
        answers.append(give(task))
        while answers and (len(answers) > ahead() or answers[0].done()):
            yield answers.popleft().result()
    while answers:
        yield answers.popleft().result()
