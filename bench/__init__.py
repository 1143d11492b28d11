"""What the operator costs: each bench beside its control, in the same run, on the loopback of one machine."""
