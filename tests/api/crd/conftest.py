"""The API server with the CRD installed, asked without any client in between."""

import pytest

from testbed.apihttp import Api
from testbed.apiserver import ApiServer


@pytest.fixture(scope="session")
def http(api: ApiServer) -> Api:
    return Api(api)
