"""Keys, certificates, COSE, AES-GCM, HKDF and secret sharing: typed and stateless."""
