"""The agent of `helm test`: it answers with what it was sent."""
