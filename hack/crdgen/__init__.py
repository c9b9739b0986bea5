"""Makes the CRDs, the chart's copy of them and their reference from the resource models.

Pure: text out of models; ``hack/generate_crds.py`` writes the files. Imported by that script and by tests.
"""
