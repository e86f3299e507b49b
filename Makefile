# Every target is one line; what it does is in the command it names.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
MARKET ?= planted
DATA ?=
COIN ?= BTC
EPOCHS ?= 15
DAY ?= day0
KILLS ?= 100
SEED ?= 1
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
.DEFAULT_GOAL := help

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 24

$(VENV)/.installed: pyproject.toml constraints.txt
	@echo "Installing into $(VENV) (about three minutes the first time)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(PIP) "torch==$$(sed -n 's/^torch==//p' constraints.txt)"
	@$(PIP) -e '.[dev]'
	@touch $@

setup: $(VENV)/.installed ## create .venv and install what constraints.txt pins

demo: setup ## from nothing to a verdict; MARKET=planted|null|recorded DATA=folder
	@$(BIN)/desk demo --market $(MARKET) $(if $(DATA),--data $(DATA))

test: setup ## every test
	@$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

check: setup ## ruff, mypy strict, import rules, SQL style, known faults of packages
	@$(BIN)/ruff check . && $(BIN)/ruff format --check --quiet . && $(BIN)/mypy && $(BIN)/lint-imports && $(BIN)/sqlfluff lint --disable-progress-bar sql && $(BIN)/python -m tests.audit

backfill: setup ## fetch the minutes that are missing
	@$(BIN)/python flows/backfill.py

repair: setup ## ask again for failed windows, and for empty minutes that are due
	@$(BIN)/python flows/backfill.py -p repair=true

features: setup ## apply the SQL, check the data, export a data set
	@$(BIN)/python flows/build_features.py

train: setup ## one coin's LSTM; COIN=BTC EPOCHS=15
	@$(BIN)/python flows/train_all.py -p products=$(COIN) -p epochs=$(EPOCHS) -p transformer=false -p boosting=false

transformer: setup ## the multi-coin transformer; EPOCHS=15
	@$(BIN)/python flows/train_all.py -p lstm=false -p boosting=false -p epochs=$(EPOCHS)

boosting: setup ## the boosting member of all coins
	@$(BIN)/python flows/train_all.py -p lstm=false -p transformer=false -p boosting=true

evaluate: setup ## judge the newest candidates against the gates and promote what passes
	@$(BIN)/python flows/promote.py

run-dry: setup ## the runtime, dry
	@$(BIN)/desk run --mode dryrun

observe-daily: setup ## the report of one day of observation; DAY=day0
	@$(BIN)/python flows/daily_report.py -p day=$(DAY)

sql: setup ## an SQL prompt on the published read copy
	@$(BIN)/desk sql

up: setup ## Prefect server, pool, deployments and worker, supervised
	@$(BIN)/desk up

down: setup ## stop all that `make up` started
	@$(BIN)/desk down

campaign: setup ## what is too long for every day: KILLS=100 kills, odd files, readers for longer, every test at another date; SEED=1
	@$(BIN)/python -m tests.campaign --kills $(KILLS) --seed $(SEED)
	@$(BIN)/python -m tests.campaign.import_fuzz --seed $(SEED)
	@$(BIN)/python -m tests.campaign.money_weeks --weeks 20000 --seed $(SEED)
	@CAMPAIGN_SECONDS=15 $(BIN)/python -m pytest -q tests/campaign/test_readers.py
	@$(BIN)/python -m tests.campaign.other_dates

bench: setup ## every benchmark, with figures for docs/log.md
	@$(BIN)/python -m benchmarks

.PHONY: help setup demo test check backfill features train transformer boosting evaluate run-dry observe-daily sql up down campaign bench
