# CONFIG: a TOML file, see pipeline/configs.  SET: overrides, section.key=value
# with spaces between.  FORCE=1: rerun steps that are up to date.
# WARM=1: train from the weights of the live version, in less time.
# WAIT=1: wait for another command that makes steps of the same run.
# ACCEPT_DATA='why': train although the data checks refuse.
CONFIG ?= pipeline/configs/sample.toml
SET ?=
FORCE ?=
WAIT ?=
WARM ?=
ACCEPT_DATA ?=
PYTHON ?= python3
VENV ?= .venv
PORT ?= 8500
REST_PORT ?= 8501
TARGET ?= 127.0.0.1:$(PORT)

RUN := $(VENV)/bin/python
OPTIONS = --config '$(CONFIG)' $(foreach pair,$(SET),--set '$(pair)')
STEP = $(RUN) -m pipeline $(OPTIONS)
FORCED = $(if $(FORCE),--force) $(if $(WARM),--warm) $(if $(WAIT),--wait) \
	$(if $(ACCEPT_DATA),--accept-data "$$ACCEPT_DATA")
SERVING := artifacts/serving
WEB := serving/ondevice/web
WEB_PORT ?= 8080

.DEFAULT_GOAL := help
.PHONY: help setup setup-dev demo picture notebook reference prepare check-data train-retrieval index train-ranking \
	distill export ondevice-export ondevice-demo ondevice-android evaluate \
	publish report canary promote rollback releases prune retrain status serve recommend explore smoke \
	log-requests replay outcomes bench-log bench-cost bench-serving bench-fleet bench-index protoset \
	bench-ondevice ablation init-config check doctor staging-up staging-down \
	k8s-render lock protos client-wheel client-check lint typecheck test \
	test-scale test-images test-environments spark-up bench-scale bench-million bench-week bench-filter clean

help: ## show this list
	@awk 'BEGIN {FS = ":.*## "} /^[a-z0-9-]+:.*## / \
		{printf "  make %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(VENV)/.requirements ## install what running needs into .venv
setup-dev: $(VENV)/.requirements-dev

# The stamps hold the files' digests: a changed pin installs again, a fresh
# checkout with new file dates does not. Half of what pip did was compiling what
# is never imported, and the pip of Python 3.11 looks at an index ten times
# longer than one of today; where no newer one is to be had it does as well.
PIP = $(RUN) -m pip install --quiet --disable-pip-version-check --no-compile
# Compiled once, here, where the environment may forbid it to every process.
LOADED = tensorflow, tensorflow.lite.python.lite, tf_keras, scann, \
	tensorflow_recommenders, tensorflow_serving.apis.predict_pb2, duckdb, \
	ibis.backends.duckdb, pyarrow.parquet, scipy.sparse.linalg, \
	matplotlib.pyplot, ai_edge_litert.interpreter, rich.table

$(VENV)/.requirements: requirements.txt
	@test -x $(RUN) || { echo "setup: creating $(VENV)" >&2; \
		$(PYTHON) -m venv $(VENV); }
	@sha256sum --check --status $@ 2>/dev/null || { \
		echo "setup: installing requirements.txt (about a minute)" >&2; \
		$(PIP) 'pip>=25' 2>/dev/null || true; \
		$(PIP) -r requirements.txt && PYTHONDONTWRITEBYTECODE= \
			TF_CPP_MIN_LOG_LEVEL=3 $(RUN) -c 'import models, $(LOADED)' \
			&& sha256sum requirements.txt > $@; }
	@touch $@

$(VENV)/.requirements-dev: requirements-dev.txt $(VENV)/.requirements
	@sha256sum --check --status $@ 2>/dev/null || { \
		echo "setup: installing requirements-dev.txt" >&2; \
		$(PIP) -r requirements-dev.txt && sha256sum requirements-dev.txt > $@; }
	@touch $@

$(VENV)/.requirements-bench: requirements-bench.txt $(VENV)/.requirements
	@sha256sum --check --status $@ 2>/dev/null || { \
		echo "setup: installing requirements-bench.txt" >&2; \
		$(PIP) -r requirements-bench.txt && sha256sum requirements-bench.txt > $@; }
	@touch $@

demo: setup ## everything end to end on the embedded sample; 2 to 4 minutes
	$(RUN) -m pipeline --config pipeline/configs/sample.toml demo $(FORCED)
# In a pipe, as a log keeps it; FORCE=1 shows the training as well.
picture: setup ## draw the README's picture from what the demo prints
	@mkdir -p artifacts
	$(MAKE) --silent demo > artifacts/demo.txt 2>&1 || { cat artifacts/demo.txt; exit 1; }
	$(RUN) -m pipeline.terminal.picture artifacts/demo.txt --command 'make demo'

prepare: setup ## read the source, split it by time, encode it
	$(STEP) $@ $(FORCED)
check-data: setup ## hold the data against the live version's
	$(STEP) $@ $(FORCED)
train-retrieval: setup ## train the two-tower model
	$(STEP) $@ $(FORCED)
index: setup ## index the catalogue; ITEMS=FILE: give the live version these items
	$(STEP) $@ $(FORCED) $(if $(ITEMS),--items '$(ITEMS)')
train-ranking: setup ## train the model that rescores what was retrieved
	$(STEP) $@ $(FORCED)
distill: setup ## train the on-device student on what both stages answer
	$(STEP) $@ $(FORCED)
export: setup ## write the SavedModels
	$(STEP) $@ $(FORCED)
ondevice-export: setup ## write the student as .tflite bundles
	$(STEP) $@ $(FORCED)
evaluate: setup ## measure the exported models against baselines
	$(STEP) $@ $(FORCED)
publish: setup ## release the bundle if the gate accepts it; REPLAY=LOG asks it first
	$(STEP) $@ $(FORCED) $(if $(REPLAY),--replay '$(REPLAY)')
report: setup ## write a run's report again: report.html and report.md
	$(STEP) $@
status: setup ## what is up to date, what would run and why, what is live
	$(STEP) $@
retrain: setup ## all steps in order, unchanged ones skipped; WARM=1: from what is live
	$(STEP) $@ $(FORCED) $(if $(REPLAY),--replay '$(REPLAY)')
# WHY=<text> of these goes into the ledger; quotes survive, as in recommend.
REASON = $(if $(WHY),--why "$$WHY")
canary: setup ## let SHARE=<percent> of users ask the staged version; REPLAY=LOG first
	$(STEP) $@ $(if $(SHARE),--share '$(SHARE)') \
		$(if $(REPLAY),--replay '$(REPLAY)') $(REASON)
promote: setup ## the canary is live; HEALTHY=<Prometheus> if it was well for an hour
	$(STEP) $@ $(if $(HEALTHY),--if-healthy '$(HEALTHY)') $(REASON)
rollback: setup ## end the trial, else return to the release before; TO=<version>
	$(STEP) $@ $(if $(TO),--to '$(TO)') $(REASON)
releases: setup ## what is live, canary, previous and staged, since when and why
	$(STEP) $@
prune: setup ## remove all but the newest KEEP=<number> versions, none in use
	$(STEP) $@ $(if $(KEEP),--keep '$(KEEP)')

serve: setup ## serve what is published: gRPC on PORT, REST on REST_PORT
	$(RUN) -m serving.server --port=$(PORT) --rest_api_port=$(REST_PORT) \
		--model_config_file=$(SERVING)/models.config \
		--model_config_file_poll_wait_seconds=1 \
		--allow_version_labels_for_unavailable_models=true
# make hands its own variables to the shell: quotes in an id survive there.
recommend: setup ## ask a running server: USER=<id> HISTORY='<id>,"<a,b>"' FILTER=genres=Drama
	$(STEP) $@ --target $(TARGET) \
		$(if $(filter command line,$(origin USER)),--user "$$USER") \
		$(if $(HISTORY),--history "$$HISTORY") $(if $(FILTER),--filter "$$FILTER")

explore: setup ## a page that asks every model; WEB_PORT= TARGET= PROJECTOR=1
	$(STEP) $@ --port $(WEB_PORT) $(if $(PROJECTOR),--projector) \
		$(if $(filter command line,$(origin TARGET)),--target '$(TARGET)')
ondevice-demo: setup ## the live on-device model in a browser; BUNDLE= WEB_PORT= SERVER=
	@sha256sum --check --status $(WEB)/node_modules/.lock 2>/dev/null || { \
		echo "ondevice-demo: installing the page's packages" >&2; \
		(cd $(WEB) && npm ci --ignore-scripts --no-audit --no-fund >&2) && sha256sum \
			$(WEB)/package-lock.json > $(WEB)/node_modules/.lock; }
	$(RUN) -m serving.ondevice.web --serving $(SERVING) --port $(WEB_PORT) \
		$(if $(BUNDLE),--bundle '$(BUNDLE)') $(if $(SERVER),--server '$(SERVER)')

ondevice-android: setup ## assets for TensorFlow's Android sample: OUTPUT= GENRES=
	$(STEP) $@ $(if $(OUTPUT),--output '$(OUTPUT)') \
		$(if $(GENRES),--genres '$(GENRES)')

smoke: setup ## check a running deployment: status, retrieval, recommendation
	$(RUN) -m serving.client smoke $(foreach one,$(TARGET),--target '$(one)') \
		--wait 60 --timeout 10
replay: setup ## ask a new version what was asked: LOG= LIVE= NEW=
	$(STEP) $@ $(if $(LOG),--log '$(LOG)') $(if $(LIVE),--live '$(LIVE)') \
		$(if $(NEW),--new '$(NEW)')
outcomes: setup ## what was taken of what was shown: LOG= INTERACTIONS= KEY= K= HOURS=
	$(STEP) $@ $(if $(LOG),--log '$(LOG)') \
		$(if $(INTERACTIONS),--interactions '$(INTERACTIONS)') \
		$(if $(KEY),--key '$(KEY)') $(if $(K),--k $(K)) \
		$(if $(HOURS),--hours $(HOURS))
log-requests: setup ## log SHARE=0.05 of requests and answers; 0 for none
	$(RUN) -m serving.releases.request_log $(if $(SHARE),--share '$(SHARE)') \
		--models_config $(SERVING)/models.config --prefix artifacts/requests/log
bench-serving: setup ## load a running server; SWAPS=50: swap both stages
	$(RUN) $(if $(SWAPS),-m serving.bench swaps --count $(SWAPS) \
		--models-config $(SERVING)/models.config,-m serving.client bench \
		$(foreach one,$(TARGET),--target '$(one)'))
bench-log: setup ## what logging every request costs, off and on in turns
	$(RUN) -m serving.bench logged --models-config $(SERVING)/models.config --seconds 5
bench-cost: setup ## where a question's time goes: the graph, what is around it
	$(RUN) -m serving.bench cost --models-config $(SERVING)/models.config
bench-fleet: setup ## stop, then kill, one of two servers of its own
	$(RUN) -m serving.bench fleet --rate 20 --threads 1 \
		--models-config $(SERVING)/models.config

# Two servers: ranking's models are on TensorFlow Serving's own image.
STAGING_TARGETS = *=127.0.0.1:8500 ranking=127.0.0.1:8510 \
	retrieval_exact=127.0.0.1:8510
COMPOSE = SERVING_DIR='$(abspath $(SERVING))' METRICS_DIR='$(abspath artifacts/metrics)' \
	docker compose -f serving/deploy/compose.yaml

staging-up: setup ## start the containers on what is published, then smoke
	@test -f $(SERVING)/models.config || { echo "staging-up: nothing is \
	published in $(SERVING): run make retrain first"; exit 1; }
	@mkdir -p artifacts/metrics
	$(COMPOSE) up --build --detach --wait
	$(MAKE) smoke TARGET='$(STAGING_TARGETS)'
staging-down: ## stop the containers of staging
	$(COMPOSE) down
k8s-render: ## print the Kubernetes manifests of staging
	@kubectl kustomize serving/deploy/k8s/overlays/staging
# uv writes what pip would choose, in seconds; the images install only that.
LOCK = $(RUN) -m uv pip compile --quiet --generate-hashes --no-annotate \
	--python-version 3.11 --python-platform linux --no-emit-index-url \
	--custom-compile-command 'make lock'
lock: setup-dev ## pin what the images install, with digests; UPGRADE=1: anew
	$(LOCK) $(if $(UPGRADE),--upgrade) serving/deploy/requirements-server.txt \
		--output-file serving/deploy/requirements-server.lock
	$(LOCK) $(if $(UPGRADE),--upgrade) requirements-spark.txt \
		--output-file serving/deploy/requirements-training.lock
# The oldest compiler whose code the supported runtimes take: generated code
# runs on protobuf of its own major version and of the next, never an older.
PROTOC := artifacts/protoc
protos: setup ## generate serving/wire from its .proto files
	@test -x $(PROTOC)/bin/python || $(RUN) -m venv $(PROTOC)
	$(PROTOC)/bin/python -m pip install --quiet --disable-pip-version-check \
		grpcio-tools==1.72.2 setuptools==84.2.1
	$(PROTOC)/bin/python -m grpc_tools.protoc -I. --python_out=. --pyi_out=. \
		serving/wire/*.proto
protoset: setup ## write artifacts/predict.protoset, the messages for grpcurl
	$(RUN) -m serving.wire.protoset artifacts/predict.protoset
client-wheel: setup ## build the wheel that applications install
	$(RUN) -m pip wheel --quiet --disable-pip-version-check --no-deps \
		--wheel-dir artifacts/client .
	@ls artifacts/client/*.whl
# Each Python from 3.10 to 3.13 that is here, those of pyenv included.
client-check: setup-dev ## install that wheel in empty environments and ask
	PYENV_VERSION=$$(pyenv versions --bare 2>/dev/null | paste -sd: -) \
		$(RUN) -m pytest -m slow -rs tests/serving/client/test_wheel.py

bench-ondevice: setup ## size, latency and quality beside TensorFlow's toolkit
	$(STEP) $@
ablation: setup ## what each choice is worth; SEEDS=1..3 ONLY=<part of a name>
	$(STEP) $@ $(if $(SEEDS),--seeds $(SEEDS)) $(if $(ONLY),--only '$(ONLY)')
init-config: setup ## print a config for INTERACTIONS=<file> [ITEMS= USERS=]
	@$(RUN) -m pipeline $@ $(if $(INTERACTIONS),--interactions '$(INTERACTIONS)') \
		$(if $(ITEMS),--items '$(ITEMS)') $(if $(USERS),--users '$(USERS)')
check: setup ## report on a config's data without training
	$(STEP) $@

doctor: ## what this machine lacks, and what to do; needs nothing installed
	@$(or $(wildcard $(RUN)),$(PYTHON)) -m pipeline.onboard.doctor \
		--config '$(CONFIG)' --port $(PORT) $(REST_PORT)
bench-scale: setup-dev ## speed, memory and cost by size; SIZES="100_000 1_000_000"
	$(RUN) -m pipeline $@ $(if $(SIZES),--interactions $(SIZES))
bench-index: $(VENV)/.requirements-bench ## neighbours beside faiss, hnswlib; SIZES= LARGE=1
	$(RUN) -m pipeline.bench.index $(if $(SIZES),--items $(SIZES)) $(if $(LARGE),--large)
bench-million: setup-dev $(VENV)/.requirements-bench ## every step over large catalogues; ITEMS=200_000
	$(RUN) -m pipeline.bench.million $(if $(ITEMS),--items $(ITEMS))
	$(if $(ITEMS),,$(RUN) -m pipeline.bench.index --items 10_000 100_000 1_000_000)
bench-week: setup ## seven nights of cron while users ask: two go wrong, nobody looks
	$(RUN) -m pipeline.bench.week
bench-filter: setup ## what filters cost and find; ITEMS=1_000_000
	$(RUN) -m pipeline.bench.filters $(if $(ITEMS),--items $(ITEMS))

spark-up: setup ## run a Spark master and two workers; needs Java 17
	$(PIP) -r requirements-spark.txt
	$(RUN) -m pipeline $@

notebook: setup-dev ## run the example notebook again and keep what it shows
	$(RUN) -m jupyter execute --inplace --NotebookClient.record_timing=False \
		pipeline/examples/orders.ipynb
reference: setup-dev ## write the pages of flags and options again
	$(RUN) -m tests.support.reference

lint: setup-dev ## ruff: format and rules
	$(RUN) -m ruff format --check .
	$(RUN) -m ruff check .
typecheck: setup-dev ## mypy
	$(RUN) -m mypy
# All that is marked slow, but for the wheel and the images' environments.
test-scale: setup-dev ## the slow tests: Spark (where Java is), workers, swaps, leaks, tutorial
	@if command -v java > /dev/null; then $(PIP) -r requirements-spark.txt; \
	else echo "test-scale: no Java here, so the Spark tests are skipped"; fi
	$(RUN) -m pytest -m "spark or slow" -n 2 --dist loadfile --durations=15 \
		--ignore=tests/serving/client/test_wheel.py --ignore=tests/serving/deploy
# Builds both Dockerfiles and runs what they hold; root, and the tools that
# tests/support/containers.py names. PYTHON_IMAGE: a base other than the stand-in.
test-images: setup-dev ## build the images, train, publish, serve and ask in them
	$(RUN) -m pytest -m images -rs --durations=0 tests/serving/deploy/test_images.py
# What can be said without images: the same packages, the same commands.
test-environments: setup-dev ## run the images' commands on what they install
	$(RUN) -m pytest -m slow tests/serving/deploy/test_deploy.py \
		tests/serving/deploy/test_training.py
# Three processes on two cores: one of them often waits for a server or a time.
# What they and the commands they start have compiled is kept for the others.
test: setup-dev ## the test suite, or the files that ONLY=<part of a path> names
	PYTHONDONTWRITEBYTECODE= $(RUN) -m pytest $(if $(ONLY),$(or $(shell find tests -name 'test_*.py' \
		-path '*$(ONLY)*'),'no test file has $(ONLY)'),-n 3 --dist loadfile \
		--no-loadscope-reorder)

clean: ## remove what runs wrote, published versions included
	rm -rf artifacts .mypy_cache .pytest_cache .ruff_cache .hypothesis
