"""What every process needs: JSON logs, the ops port (/livez /readyz /metrics), settings from the environment.

Imported by every component; knows none of them.
"""
