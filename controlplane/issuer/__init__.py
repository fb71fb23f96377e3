"""A small Entra-compatible token service for offline use; an outside OIDC issuer can replace it.

The exchange is that of control-plane.md 6.2.
"""
