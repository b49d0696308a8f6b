"""What is kept of the searched thinking, and the late switches that ablations choose."""
