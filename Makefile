# Pitstop. `make help` lists the targets.
.DEFAULT_GOAL := help
GO ?= go

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: ## build bin/checker
	@$(GO) build -o bin/checker ./checker

.PHONY: check
check: build ## grade every lesson
	@bin/checker check

.PHONY: watch
watch: build ## grade a lesson at every save
	@bin/checker watch

.PHONY: doctor
doctor: build ## is this machine able to grade?
	@bin/checker doctor

.PHONY: pristine
pristine: ## for authors: write the pristine copy of the lessons
	@$(GO) run ./checker pristine
