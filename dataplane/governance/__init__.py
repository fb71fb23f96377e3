"""Governance: proposals, members, nodes and the constitution that decides (node-api.md 4)."""
