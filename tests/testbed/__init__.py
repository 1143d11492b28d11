"""Real clusters, real API servers and real images for the tests: nothing here imitates Kubernetes.

The front doors are :mod:`testbed.cluster`, :mod:`testbed.apiserver`, :mod:`testbed.images` and,
for people, ``python -m testbed``.
"""
