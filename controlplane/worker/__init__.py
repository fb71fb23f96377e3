"""The background half of the control plane: Celery tasks that carry ids only (decisions 16)."""
