"""Attestation: what a platform says about a node, and whether a service trusts it."""
