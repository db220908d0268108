# SPDX-License-Identifier: Apache-2.0
"""Client.map(): a bounded number of jobs in flight, results in order."""

from __future__ import annotations

import collections
from typing import (
    Any,
    Callable,
    Deque,
    Dict,
    Iterable,
    Iterator,
    Mapping,
    Sized,
)

from ._job import Job
from ._result import Result


def _bar(tqdm: Any, inputs: Iterable[Any]) -> Any:
    """A progress bar, or None."""
    if not tqdm:
        return None
    if tqdm is True:
        try:
            from tqdm.auto import tqdm as kind
        except ImportError:
            raise ImportError("tqdm=True needs tqdm (python3-tqdm)") from None
    else:
        kind = tqdm
    total = len(inputs) if isinstance(inputs, Sized) else None
    return kind(total=total)


def _start(submit: Callable[..., Job], argument: str, model: str,
           one: Any, options: Mapping[str, Any]) -> Job:
    if isinstance(one, Mapping):
        return submit(**{"model": model, **options, **one})
    arguments: Dict[str, Any] = {argument: one, "model": model, **options}
    return submit(**arguments)


def run(submit: Callable[..., Job], argument: str, inputs: Iterable[Any],
        model: str, ahead: int, tqdm: Any,
        options: Mapping[str, Any]) -> Iterator[Result]:
    """Yield the results of submit(argument=one, model=model, **options) for
    every one of inputs, in order."""
    jobs: Deque[Job] = collections.deque()
    source = iter(inputs)
    bar = _bar(tqdm, inputs)
    try:
        ended = False
        while jobs or not ended:
            while not ended and len(jobs) < ahead:
                try:
                    one = next(source)
                except StopIteration:
                    ended = True
                    break
                jobs.append(_start(submit, argument, model, one, options))
            if jobs:
                result = jobs[0].result()
                jobs.popleft()
                if bar is not None:
                    bar.update(1)
                yield result
    finally:
        for job in jobs:
            job.cancel()
        if bar is not None:
            bar.close()
