"""The same credentials for kopf's watches as for our own requests, and an ear on what kopf asks for."""

import datetime as dt
from collections.abc import Callable
from types import SimpleNamespace

import aiohttp
import kopf
from kubernetes.aio.client.configuration import Configuration

_LIFETIME = dt.timedelta(minutes=5)
"""Service-account tokens rotate; kopf asks again after this."""


async def kopf_session(configuration: Configuration, listed: Callable[[str], None]) -> kopf.AiohttpSession:
    """Return the official client's address and credentials in kopf's form, with the token read anew.

    Args:
        configuration: The API server.
        listed: Called with the URL's path after each GET that is no watch: kopf tells nobody when it lists again.
    """
    authorization = await configuration.get_api_key_with_prefix("BearerToken") or ""
    scheme, _, token = authorization.rpartition(" ")
    info = kopf.ConnectionInfo(
        server=configuration.host,
        ca_path=configuration.ssl_ca_cert,
        insecure=not configuration.verify_ssl,
        scheme=scheme or None,
        token=token or None,
        certificate_path=configuration.cert_file,
        private_key_path=configuration.key_file,
    )

    async def ended(_: aiohttp.ClientSession, __: SimpleNamespace, request: aiohttp.TraceRequestEndParams) -> None:
        if request.method == "GET" and "watch" not in request.url.query and request.response.ok:
            listed(request.url.path)

    trace = aiohttp.TraceConfig()
    trace.on_request_end.append(ended)
    return kopf.AiohttpSession(
        server=info.server,
        aiohttp_session=aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=info.as_ssl_context()),
            headers=info.as_http_headers(),
            trace_configs=[trace],
        ),
        expiration=dt.datetime.now(dt.UTC) + _LIFETIME if token else None,
    )
