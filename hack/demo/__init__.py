"""`make demo`: what the product does, shown on a real cluster in a few minutes.

Everything that it says with a tick has been looked up in the cluster at that moment; the first that does not hold ends
it with an exit status other than 0.
"""
