"""`python -m controlplane.worker`: a worker with a pool of threads, and its own beat.

Beat runs as a thread of the worker, so it cannot outlive it. With several workers several beats run, which costs a
few queries: whoever finds work first takes the lease.
"""

import logging
import os
import sys
from threading import Thread
from typing import Any, cast

from celery import signals
from celery.beat import EmbeddedService

from controlplane import settings as settings_module
from controlplane.readiness import end_with_supervisor, say_ready
from controlplane.settings import InvalidSettings
from controlplane.telemetry import configure_logging
from controlplane.worker.celery_app import app
from controlplane.worker.tasks import stopping, use_world
from controlplane.worker.world import make_world

THREADS = 16

_LOG = logging.getLogger("mccf.worker")


def main() -> int:
    """Exit code 0 after a signal, 2 when the settings cannot be used."""
    end_with_supervisor()
    configure_logging()
    logging.getLogger("celery").setLevel("WARNING")
    try:
        settings = settings_module.load(os.environ)
    except InvalidSettings as error:
        _LOG.error("invalid settings: %s", error)
        return 2
    use_world(make_world(settings))
    beat = cast(Thread, EmbeddedService(app, scheduler_cls="celery.beat:Scheduler", thread=True))

    def begin(**_: Any) -> None:
        beat.start()
        say_ready(settings, "worker")

    def end(**_: Any) -> None:
        stopping.set()

    signals.worker_ready.connect(begin, weak=False)
    signals.worker_shutting_down.connect(end, weak=False)
    app.worker_main(
        [
            "worker",
            "--pool=threads",
            f"--concurrency={THREADS}",
            "--loglevel=WARNING",
            "--without-gossip",
            "--without-mingle",
            "--without-heartbeat",
        ]
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
