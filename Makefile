PYTHON ?= python3
BIN := .venv/bin
LOG_RULE := play_time_ms / duration_ms >= 1.5, < 0.3

.PHONY: demo test test-slow lint docs bench clean

# The main job on a simulated video feed: log, dataset, four runs, one page, one table.
demo: .venv/installed
	rm -rf demo
	$(BIN)/invlearn simulate demo/log
	$(BIN)/invlearn prepare demo/log --user user_id --item video_id --time timestamp \
		--rule "$(LOG_RULE)" --out demo/data
	for strategy in none ns idl ig; do \
		$(BIN)/invlearn train demo/data --strategy $$strategy --patience 2 --epochs 20 \
			--out demo/$$strategy || exit; \
	done
	$(BIN)/invlearn report demo/none demo/ns demo/idl demo/ig --out demo/report.html
	$(BIN)/invlearn evaluate demo/none demo/ns demo/idl demo/ig --out demo/comparison.json

test: .venv/installed
	$(BIN)/pytest -n auto --dist worksteal -m "not slow"

# The rest of the grids that `make test` covers in part; CI runs it.
test-slow: .venv/installed
	$(BIN)/pytest -n auto --dist worksteal -m slow tests

lint: .venv/installed
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/pyright

# The documentation site, into build/site; a warning is an error.
docs: .venv/installed
	$(BIN)/python docs/build.py

# The benchmarks' short set: tables only, nothing is written down.
bench: .venv/installed
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[bench]'
	rm -rf build/bench
	$(BIN)/invlearn simulate build/bench/log --users 6040 --items 3706 --rows 1000000
	$(BIN)/invlearn prepare build/bench/log --user user_id --item video_id --time timestamp \
		--rule "$(LOG_RULE)" --out build/bench/data
	for script in sampling evaluation step "epoch --dataset build/bench/data" \
			"prepare --work build/bench/prepare"; do \
		echo "== $$script"; \
		OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE $(BIN)/python benchmarks/$${script%% *}.py \
			$$(echo "$$script" | cut -s -d' ' -f2-) --quick || exit; \
	done

clean:
	rm -rf .venv demo build

.venv/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; v >= (3, 11) or sys.exit(f"invlearn needs Python 3.11 or later, $(PYTHON) is {v[0]}.{v[1]}; try make PYTHON=python3.12")'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@
