# Two commands do everything on a fresh Debian 12 with root: `make rtt` and `make test`.
# Both install what is missing and are idempotent: a second run installs nothing.

PYTHON ?= python3
VENV   ?= .venv
PYTEST  = $(VENV)/bin/python -m pytest

.PHONY: rtt test check soak faults bpf lock setup system bench clean

rtt: setup  ## Judge a kernel: the running one if it can be, else a guest in virtual time
	$(PYTEST) -m rtt tests/rtt

test: setup  ## The project's own tests: unit, lab, guests
	@# What netlink and TCP_INFO are told is compared with what ip, tc and ss say; bcc is one of the probes and compiles
	@# against headers of any kernel; a module that makes a guest's kernel faulty is compiled (make setup brings QEMU, and
	@# make is here). Other machines are sshds in namespaces: without one that test is skipped, for installing the
	@# package starts a service.
	@sh ./setup/system-packages.sh iproute2 python3-bpfcc linux-headers-amd64 gcc libelf1 \
		$(if $(CI),openssh-server openssh-client)
	$(MAKE) --no-print-directory check
	@# What judges and what needs no kernel of its own runs on all cores; labs and guests have the machine to themselves.
	$(PYTEST) -n auto --durations=15 tests/unit tests/faults --ignore tests/faults/test_saboteur.py
	$(PYTEST) --durations=15 tests/lab tests/guest tests/faults/test_saboteur.py

check: setup  ## Formatting, lint, types
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy

setup: system .stamps/venv

system:
	@sh ./setup/system-packages.sh

.stamps/venv: requirements.lock pyproject.toml
	@mkdir -p .stamps
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@# A guest's root is read-only and its processor emulated: bytecode is made here, once.
	$(VENV)/bin/python -m compileall -q -j 0 $(VENV)/lib rttcheck netns tests || true
	@touch $@

soak: setup  ## How often does a check fail that should not? SOAK='--runs 300 --clock virtual'
	$(VENV)/bin/rttcheck soak $(SOAK)

faults: setup  ## Judge every fault, planted or real, and write docs/faults.md; takes hours, goes on where it was
	@sh ./setup/system-packages.sh gcc libelf1
	$(VENV)/bin/python -m tests.faults --write docs/faults.md
	$(VENV)/bin/python -m tests.saboteur --write docs/faults.md

bench: setup  ## Measure, and write the tables in docs/performance.md; BENCH='--only probe-cost' one of them
	@# The last three have the tools that the probes' cost is compared with.
	@sh ./setup/system-packages.sh iproute2 python3-bpfcc bpfcc-tools libbpf-tools bpftrace
	$(VENV)/bin/python -m benchmarks $(BENCH) --write docs/performance.md

bpf:  ## Rebuild the BPF objects (needs clang and libbpf-dev)
	$(MAKE) -C bpf

lock:  ## Pin the dependencies anew
	$(VENV)/bin/python -m pip install --quiet pip-tools
	$(VENV)/bin/pip-compile --quiet --strip-extras --generate-hashes --no-header --no-emit-index-url --no-emit-find-links --extra dev --output-file requirements.lock pyproject.toml

clean:
	rm -rf .venv .stamps .rttcheck dist build
