"""Token issuers as governance tells of them, in the modern and the classic dialect (node-api.md 2.3, 2.4)."""

from dataplane.api.gov_request import versioned
from dataplane.apps.endpoint import Context, Endpoint, Response, json_response
from dataplane.governance.jwt import all_token_keys, describe_issuers, token_key_pem
from dataplane.kv.tables import TLS_CA_CERT_BUNDLES, load_json


def jwt_endpoints() -> list[Endpoint]:
    """Both dialects' reads; open to anybody."""
    return [
        versioned("GET", "/service/jwk", _jwk),
        Endpoint("GET", "/jwt_keys/all", _classic_keys),
    ]


def _jwk(context: Context) -> Response:
    keys = {
        kid: [{"constraint": key.constraint, "issuer": key.issuer, "publicKey": token_key_pem(key)} for key in of_kid]
        for kid, of_kid in all_token_keys(context.tx).items()
    }
    bundles = {key.decode(): load_json(value) for key, value in context.tx.items(TLS_CA_CERT_BUNDLES)}
    return json_response({"issuers": describe_issuers(context.tx), "keys": keys, "caCertBundles": bundles})


def _classic_keys(context: Context) -> Response:
    """By key id. Where older releases gave the certificate of a key there is the key: no more of it is stored."""
    return json_response(
        {
            kid: [
                {"constraint": key.constraint, "issuer": key.issuer, "public_key": token_key_pem(key)} for key in of_kid
            ]
            for kid, of_kid in all_token_keys(context.tx).items()
        }
    )
