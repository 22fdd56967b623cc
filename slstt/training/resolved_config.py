"""The settings that a run folder was started with."""

from pathlib import Path

from slstt.config.load import Settings, load_config
from slstt.errors import ConfigError

CONFIG = "config.resolved.yaml"


def settings_in(run: Path, schema: type[Settings]) -> Settings:
    """What the run in `run` was started with. Raises ConfigError where that cannot be read or is no longer valid."""
    try:
        return load_config(schema, run / CONFIG)
    except (ConfigError, RecursionError) as error:
        reason = " ".join(str(error).removeprefix(f"{run / CONFIG}: ").split())[:200]
        raise ConfigError(
            f"{run / CONFIG}: damaged, or of another version of slstt ({reason}); choose another --out"
        ) from error
