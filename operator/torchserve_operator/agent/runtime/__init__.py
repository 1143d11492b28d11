"""The agent: what runs in the pods as the container's first process.

Standard library only, Python 3.8 syntax and library: it runs with the Python of any TorchServe image. Heavy modules of
the standard library (http, urllib, ssl, asyncio, dataclasses, logging) are left out on purpose: this process is in
every pod, and its memory with it.
"""
