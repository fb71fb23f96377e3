"""The control plane: Managed CCF on an ARM-compatible endpoint."""
