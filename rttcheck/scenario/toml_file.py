"""Load scenarios from a TOML file: one table ``[scenario.NAME]`` each, with the keywords of `Scenario.make`."""

from __future__ import annotations

import tomllib
from pathlib import Path

from rttcheck.errors import ScenarioError
from rttcheck.scenario.keywords import check_known
from rttcheck.scenario.model import Scenario


def load_scenarios(path: Path) -> tuple[Scenario, ...]:
    """Return the scenarios of a file, in its order.

    Raises ScenarioError, naming file and table, when the file cannot be read, is not TOML, or has no scenario or an
    invalid one.
    """
    path = Path(path)
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ScenarioError(f"{path} cannot be read ({error.strerror}): name a TOML file with scenarios") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ScenarioError(f"{path} is not TOML: {error}") from error
    check_known(document, ("scenario",), where=f"{path}, at its top,")
    tables = document.get("scenario")
    if not isinstance(tables, dict) or not tables:
        raise ScenarioError(f'{path} has no scenario: write a table such as [scenario.far-away] with rtt = "300ms"')
    scenarios: list[Scenario] = []
    for name, table in tables.items():
        where = f"{path}, [scenario.{name}]"
        if not isinstance(table, dict):
            raise ScenarioError(f"{where} is {table!r}, not a table: write its keywords below [scenario.{name}]")
        if "name" in table:
            raise ScenarioError(f"{where} has two names: its table is the name, leave name out")
        try:
            scenarios.append(Scenario.make(name=name, **table))
        except ScenarioError as error:
            raise ScenarioError(f"{where}: {error}") from error
    return tuple(scenarios)


def toml_value(value: object) -> str:
    """Return a keyword's value in TOML."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {toml_value(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml_value, value)) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else str(value)
