"""Desired state, observed state, and the loop that takes one step from the one towards the other."""
