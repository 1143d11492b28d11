from testbed.cli import run

run()
