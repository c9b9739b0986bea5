# The demo and the journeys: what needs a real cluster. Included by the Makefile.
LIVE = PYTHONPATH=hack:hack/cluster $(PY) -m

.PHONY: demo
demo: venv ## Show what it does, on a real cluster (4 minutes; the first time some 10 more)
	@$(LIVE) demo

# The chart with the images of the work tree; CLUSTER=current takes both from HELM_VALUES
.PHONY: installed
installed: cluster
	@if [ "$${CLUSTER:-}" != current ]; then $(CLUSTER_TOOL) images >/dev/null; fi
	@$(LIVE) live

.PHONY: test-journeys
test-journeys: installed ## Journeys on the cluster: API server, kubelet, gateway (10 minutes)
	$(PY) -m pytest -q tests/journeys -m "journey and not long"

.PHONY: test-long
test-long: installed ## Journeys that take long
	$(PY) -m pytest -q tests/journeys -m long

.PHONY: life
life: installed ## Record the life of a pool into docs/explanation/life-of-a-pool.md (4 minutes; SYNC: the autoscaler's interval)
	@$(LIVE) life --sync $(or $(SYNC),5)

.PHONY: reliability
reliability: installed ## The figures of docs/reliability.md, at 1,000 messages a second (20 minutes; use an idle machine)
	@mkdir -p build/bench; rm -f build/bench/reliability.json
	@status=0; export RELIABILITY_RATE=$${RELIABILITY_RATE:-1000} RELIABILITY_OUT=build/bench/reliability.json; \
	  $(PY) -m pytest -q -s tests/journeys -m reliability || status=$$?; \
	  $(PY) -m pytest -q -s tests/integration/operator -m reliability || status=$$?; \
	$(LIVE) live.figures_table build/bench/reliability.json docs/reliability.md; exit $$status
