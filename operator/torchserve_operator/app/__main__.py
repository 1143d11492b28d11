"""`python -m torchserve_operator.app` is the `torchserve-operator` command."""

from torchserve_operator.app.cli import main

main()
