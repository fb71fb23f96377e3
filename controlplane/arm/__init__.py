"""Pure rules of the resource manager: no HTTP, no SQL, no clock (control-plane.md 1, 3 and 4)."""
