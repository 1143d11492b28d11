"""The same credentials for kopf's watches as for our own requests."""

import datetime as dt

import kopf
from kubernetes.aio.client.configuration import Configuration

_LIFETIME = dt.timedelta(minutes=5)
"""Service-account tokens rotate; kopf asks again after this."""


async def connection_info(configuration: Configuration) -> kopf.ConnectionInfo:
    """Return the official client's address and credentials in kopf's form, with the token read anew."""
    authorization = await configuration.get_api_key_with_prefix("BearerToken") or ""
    scheme, _, token = authorization.rpartition(" ")
    return kopf.ConnectionInfo(
        server=configuration.host,
        ca_path=configuration.ssl_ca_cert,
        insecure=not configuration.verify_ssl,
        scheme=scheme or None,
        token=token or None,
        certificate_path=configuration.cert_file,
        private_key_path=configuration.key_file,
        expiration=dt.datetime.now(dt.UTC) + _LIFETIME if token else None,
    )
