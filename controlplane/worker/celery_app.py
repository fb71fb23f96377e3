"""The Celery application: where messages go, and how little depends on them (decisions 16).

Messages carry ids only, results are not kept, and a message is acknowledged when it is received: what a worker that
dies leaves undone is found by the sweep through expired leases, not by the broker.
"""

import os
from datetime import timedelta

from celery import Celery

from controlplane import settings as settings_module
from controlplane.worker.broker import broker_url

_SETTINGS = settings_module.load(os.environ)
_SWEEP_INTERVAL = timedelta(milliseconds=_SETTINGS.sweep_interval_ms)

app = Celery("mccf", broker=broker_url(_SETTINGS), include=["controlplane.worker.tasks"])
app.conf.update(
    task_ignore_result=True,
    task_serializer="json",
    accept_content=["json"],
    worker_prefetch_multiplier=1,
    worker_hijack_root_logger=False,
    worker_redirect_stdouts=False,
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
    # A hint that cannot be sent at once is not worth waiting for.
    task_publish_retry=False,
    broker_transport_options={"socket_connect_timeout": 1.0, "socket_timeout": 5.0},
    beat_schedule={
        "sweep": {
            "task": "mccf.sweep",
            "schedule": _SWEEP_INTERVAL,
            # Sweeps that pile up while every thread is busy would only repeat each other.
            "options": {"expires": _SWEEP_INTERVAL.total_seconds()},
        },
        "forget": {"task": "mccf.forget", "schedule": timedelta(hours=1)},
    },
)
