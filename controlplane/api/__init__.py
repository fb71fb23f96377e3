"""The ARM-compatible API over HTTPS, our own instance view, the token issuer and the identity service."""
