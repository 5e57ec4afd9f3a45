# Pitstop. `make help` lists the targets.
.DEFAULT_GOAL := help
GO ?= go

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: ## build bin/checker
	@$(GO) build -o bin/checker ./checker

.PHONY: check
check: build ## grade every lesson
	@bin/checker check

.PHONY: watch
watch: build ## grade a lesson at every save
	@bin/checker watch

.PHONY: demo
demo: build ## the whole service as shipped, as yours and as mended: its figures side by side
	@bin/checker demo

.PHONY: doctor
doctor: build ## say whether this machine can grade, and what is missing
	@bin/checker doctor

# Lesson 24 on a cluster of your own. VERSION, KIND_CLUSTER, KIND_IMAGE and
# KIND_CONFIG are read from the environment; CLUSTER_FLAGS is --json, say.
.PHONY: image kind-up kind-deploy kind-verify kind-down
image: build ## lesson 24: build dispatchd's image and look at what is in it
	@bin/checker cluster image $(CLUSTER_FLAGS)
kind-up: build ## lesson 24: start a cluster with kind, in Docker
	@bin/checker cluster up $(CLUSTER_FLAGS)
kind-deploy: build ## lesson 24: bring dispatchd onto the cluster
	@bin/checker cluster deploy $(CLUSTER_FLAGS)
kind-verify: build ## lesson 24: try it there: rollout, drain, memory, network, debugging
	@bin/checker cluster verify $(CLUSTER_FLAGS)
kind-down: build ## lesson 24: take the cluster away
	@bin/checker cluster down $(CLUSTER_FLAGS)

.PHONY: test
test: build ## run the project's own tests, whatever state your lessons are in
	$(GO) vet ./checker/... ./solutions
	$(GO) test ./checker/... ./solutions
	bin/checker verify

.PHONY: verify
verify: build ## for authors: is the grader right about every known mend? (RUNS=5)
	bin/checker verify --runs $(or $(RUNS),1)

.PHONY: pristine
pristine: ## for authors: write what is generated: the pristine copy, the table in README.md
	$(GO) run ./checker pristine

.PHONY: gate
gate: build ## for authors: formatting, and that what is generated is up to date
	@test -z "$$(gofmt -l checker lessons solutions)" || { gofmt -l checker lessons solutions; echo "run gofmt -w on these"; exit 1; }
	$(GO) mod tidy -diff
	bin/checker pristine --check
	@if command -v golangci-lint >/dev/null; then golangci-lint run ./checker/...; else echo "golangci-lint is not installed: skipped (https://golangci-lint.run)"; fi

.PHONY: bench
bench: build ## compare the checker's speed with a bare go test, as ratios
	$(GO) run ./checker/bench

.PHONY: clean
clean: ## take away what was built; progress and backups in .pitstop stay
	rm -rf bin
