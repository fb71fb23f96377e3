"""Endpoints: how they are declared, and the applications that declare them."""
