"""One stable address per instance, in front of whichever of its nodes are healthy."""
