"""The chart on the cluster of `make cluster`, as the demo and the journeys use it.

kubectl and helm as they are, an address of the gateway that this machine reaches, and traffic that is counted call by
call. Nothing here knows what is being shown or tested.
"""
