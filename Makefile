# The commands of every day. What they do stands in infra/local/stack and infra/local/test.

STACK := infra/local/stack
NAME  ?= dev

.DEFAULT_GOAL := help
.PHONY: api-fuzz help up down status logs reset install build check test test-stack-up test-stack-down load-jmeter load-artillery load-k6 flame chaos soak sweep load bench

help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

up: ## start everything: install, build, migrate, seed, serve, place one order (ORDER=1: place one even if all runs; REPLICA=1: with a replica for reads)
	@$(STACK) up dev $(if $(ORDER),--order) $(if $(REPLICA),--replica)

down: ## stop what `make up` started; the data stays
	@$(STACK) down dev

status: ## what runs, with ports, memory and consumer lag (NAME=test: of the tests' instance)
	@$(STACK) status $(NAME)

logs: ## follow the logs (PART=mambogo|kafka|redis|postgres: one of them)
	@$(STACK) logs $(NAME) $(PART)

reset: ## stop, then delete the local data (NAME=test: the tests' data)
	@$(STACK) reset $(NAME)

install: ## install what is missing (packages by apt, Kafka by Maven), start nothing
	@$(STACK) install

build: ## the release binary, target/release/mambogo
	cargo build --release --locked -p mambogo

check: ## formatting and lints only
	@infra/local/test fmt clippy

test: ## everything that CI runs, on an instance of its own (ONLY="fmt clippy doc deny unit": some of it; ARGS: for cargo test)
	@ARGS='$(ARGS)' infra/local/test $(ONLY)

sweep: ## every crash point by itself, at several passings: a process dies there, all settles, the books agree (SWEEP_ONLY=relay, SWEEP_SEED=n)
	@SWEEP_ALONE=1 SWEEP_TIMES=$(or $(SWEEP_TIMES),2) ARGS='-p mambogo --test whole -- sweep --nocapture' infra/local/test unit

api-fuzz: ## the API against a fuzzer that knows its OpenAPI document: thousands of calls (EXAMPLES=60, ONLY=getOrder, SEED=n)
	@API_FUZZ_EXAMPLES=$(or $(EXAMPLES),60) API_FUZZ_SEED=$(or $(SEED),1) API_FUZZ_ONLY='$(ONLY)' ARGS='-p mambogo --test whole -- fuzz --nocapture' infra/local/test unit

test-stack-up: ## leave the tests' instance running, for single runs: set -a; . .local/test/env; set +a; cargo test -p …
	@$(STACK) up test

test-stack-down: ## stop it
	@$(STACK) down test

load-jmeter: ## 100 users with 10 orders each against the dev instance, by JMeter (SHORT=1: half a minute)
load-artillery: ## 10, 50, 100 visitors a second: 70 % order, 30 % browse, by Artillery (SHORT=1)
load-k6: ## the same mix by k6 (SHORT=1)
load-jmeter load-artillery load-k6:
	@SHORT='$(SHORT)' loadtest/plans/run $(@:load-%=%)

# its own instance, taken away at the end; the same seed makes the same choices
CHAOS := ulimit -n "$$(ulimit -Hn)" 2>/dev/null; target/release/chaos $(if $(MAMBOGO_BIN),--bin '$(MAMBOGO_BIN)') $(if $(SEED),--seed '$(SEED)') $(if $(RATE),--rate '$(RATE)')
CHAOS_BUILD := cargo build --release --locked -p chaos $(if $(MAMBOGO_BIN),,-p mambogo)
# said before minutes of building, not after
CHAOS_NUMBERS = $(foreach name,SEED RATE ROUNDS MINUTES,$(if $(shell printf %s '$($(name))' | tr -d 0-9),$(error $(name) is a whole number, not "$($(name))")))

chaos: ## kills, freezes and cuts off every part under load, and checks what must hold (SHORT=1, SEED=n, ROUNDS=2, RATE=100, ONLY=broker)
	@$(CHAOS_NUMBERS)$(STACK) install && $(CHAOS_BUILD)
	@$(CHAOS) faults $(if $(SHORT),--short) $(if $(ROUNDS),--rounds '$(ROUNDS)') $(foreach word,$(ONLY),--only '$(word)')

soak: ## steady load with a fault each minute: memory stays flat, nothing is left behind (MINUTES=20, SEED=n, RATE=100)
	@$(CHAOS_NUMBERS)$(STACK) install && $(CHAOS_BUILD)
	@$(CHAOS) soak $(if $(MINUTES),--minutes '$(MINUTES)')

flame: ## a flame graph of a running process (PID=…, without it the dev instance's mambogo; SECONDS=15)
	@infra/local/flame '$(PID)' '$(or $(SECONDS),15)'

load: ## load on the dev instance, measured and checked (ARGS='--rate 200 --for 30s'; mambogo load --help)
	@loadtest/load $(ARGS)

bench: ## the table of goals on an instance of its own: about 20 minutes (SHORT=1: under 3; ARGS='--only bulk --scale 0.2')
	@loadtest/bench $(if $(SHORT),--short) $(ARGS)
