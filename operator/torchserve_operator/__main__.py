"""`python -m torchserve_operator`."""

from torchserve_operator.app.cli import main

main()
