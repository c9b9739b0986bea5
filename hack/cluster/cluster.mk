# The cluster, the images and the lock files. Included by the Makefile.
CLUSTER_TOOL = $(PY) hack/cluster
LOCK = $(VENV)/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header pyproject.toml

.PHONY: cluster
cluster: venv ## Bring up a Kubernetes, or repair it (CLUSTER=current|kind|local)
	@$(CLUSTER_TOOL) up

.PHONY: down
down: venv ## Take the cluster down and leave nothing behind
	@$(CLUSTER_TOOL) down

.PHONY: images
images: cluster ## Build the images and bring them into the cluster
	@$(CLUSTER_TOOL) images

.PHONY: lock
lock: ## Resolve the lock files anew: hashes, no index address
	@test -x $(VENV)/bin/uv || { $(PYTHON) -m venv $(VENV) && $(PY) -m pip install --quiet uv; }
	@mkdir -p requirements
	@for extra in operator sidecar gateway host cli; do echo "==> requirements/$$extra.txt"; \
	  $(LOCK) --extra $$extra -o requirements/$$extra.txt; done
	@echo "==> requirements/compile.txt"; $(LOCK) --group compile -o requirements/compile.txt
	@echo "==> requirements/dev.txt"; $(LOCK) --all-extras --group dev -o requirements/dev.txt

.PHONY: test-cluster
test-cluster: venv ## Prove that the local cluster comes, is repaired and goes without a trace (root, 5 minutes, takes the cluster)
	$(PY) -m pytest -q tests/cluster

.PHONY: test-long
test-long: test-cluster
