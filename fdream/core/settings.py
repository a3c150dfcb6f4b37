"""Settings of this machine, and who set each: they stay here and never enter a recipe.

Order, the first that speaks wins: command line, ``FDREAM_*``, ./fdream.toml, the user's file,
defaults.
"""

from __future__ import annotations

import difflib
import ipaddress
import os
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, EnvSettingsSource, SettingsConfigDict
from pydantic_settings.sources import PydanticBaseSettingsSource

from fdream.core.errors import SettingsError
from fdream.core.paths import CONFIG_VARIABLE, cache_root, user_settings_file

PREFIX: Final = "FDREAM_"
FOLDER_FILE: Final = Path("fdream.toml")
ENVIRONMENT_ONLY: Final = frozenset({CONFIG_VARIABLE, "FDREAM_PLUGINS"})
"""Variables that are read where they matter, before there are settings."""

_PRIVATE: Final = ("cache", "endpoint", "key", "token")


def base_address(address: str) -> str:
    """Return the base address of a server without its last slash.

    Raises:
        ValueError: it is none, carries a secret, or would send a key in the open.
    """
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("expected an address such as https://HOST/v1")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError("an address has no user, key, ? or #; the key is a setting of its own")
    if parts.scheme == "http" and not is_loopback(parts.hostname):
        raise ValueError("only https, but for this machine itself: a key would go in the open")
    return address.rstrip("/")


def is_loopback(host: str) -> bool:
    """Whether a host is this machine, by its name or number alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Settings(BaseSettings):
    """What is true of this machine for every run."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="forbid", frozen=True)

    cache: Path = Field(default_factory=cache_root, description="folder for what can be remade")
    device: Annotated[str, Field(pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$")] = Field(
        "auto", description="auto, cuda, cuda:N, mps or cpu"
    )
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto", description="number format on the device"
    )
    endpoint: Annotated[str, AfterValidator(base_address)] | None = Field(
        None, description="base address of an OpenAI-compatible server, such as https://HOST/v1"
    )
    endpoint_key: SecretStr | None = Field(None, description="key for that server and no other")
    threads: Annotated[int, Field(ge=1)] | None = Field(
        None, description="CPU threads; torch's own choice when not set"
    )

    @field_validator("cache", mode="before")
    @classmethod
    def _place(cls, value: object) -> object:
        """Read ``~`` as a shell would; nothing is no folder."""
        if not isinstance(value, (str, Path)):
            return value
        return Path(value).expanduser() if str(value) else cache_root()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take only what ``load_settings`` hands over, which has merged the sources itself.

        It has to, because pydantic-settings does not say where a value came from.
        """
        del settings_cls, env_settings, dotenv_settings, file_secret_settings
        return (init_settings,)


@dataclass(frozen=True, slots=True)
class LoadedSettings:
    """Settings with who set each of them; a name without an entry has its default."""

    settings: Settings
    origins: Mapping[str, str]

    def origin(self, name: str) -> str:
        """Return who set a setting, or ``default``."""
        return self.origins.get(name, "default")


def load_settings(overrides: Mapping[str, Any] | None = None) -> LoadedSettings:
    """Read the settings from every source.

    Args:
        overrides: what the command line says; a value of None says nothing.

    Raises:
        SettingsError: a file cannot be read, or a value is not valid; names them all.
    """
    given = {name: value for name, value in (overrides or {}).items() if value is not None}
    sources = [
        ("command line", given),
        ("environment", EnvSettingsSource(Settings, env_ignore_empty=True)()),
        (f"./{FOLDER_FILE}", _folder_table()),
        (str(user_settings_file()), _read(user_settings_file())),
    ]
    merged: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for origin, table in sources:
        for name, value in table.items():
            if name not in merged:
                merged[name] = value
                origins[name] = _variable(name) if origin == "environment" else origin
    try:
        return LoadedSettings(Settings(**merged), origins)
    except ValidationError as error:
        raise SettingsError(_letter(error, origins)) from error


def misspelt_variables() -> dict[str, str | None]:
    """Return ``FDREAM_`` variables that mean nothing, each with the nearest that does.

    They pass silently otherwise: an environment is open, so nothing can refuse them.
    """
    known = {_variable(name) for name in Settings.model_fields} | ENVIRONMENT_ONLY
    # Compared without the prefix, which would make everything look alike.
    bare = [name.removeprefix(PREFIX) for name in known]
    found = {}
    for name in sorted(os.environ):
        if name.startswith(PREFIX) and name not in known:
            nearest = _nearest(name.removeprefix(PREFIX), bare)
            found[name] = nearest and f"{PREFIX}{nearest}"
    return found


def shown(value: object) -> str | int | float | bool | None:
    """Return a setting as it may be shown: a secret stays one."""
    if isinstance(value, SecretStr):
        return "(set)"
    return value if isinstance(value, (str, int, float, bool)) or value is None else str(value)


def _folder_table() -> dict[str, Any]:
    """Read ./fdream.toml, which may come with a stranger's folder, and refuse what leads astray."""
    table = _read(FOLDER_FILE)
    refused = [name for name in table if name.rpartition("_")[2] in _PRIVATE]
    if refused:
        raise SettingsError(
            f"./{FOLDER_FILE}: {', '.join(refused)} may not be set by a folder, because whoever "
            "wrote it could send your data or keys elsewhere; set it in "
            f"{user_settings_file()} or as {_variable(refused[0])}."
        )
    return table


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise SettingsError(f"settings {path}: {error.strerror or error}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"settings {path}: not valid TOML: {error}.") from error


def _letter(error: ValidationError, origins: Mapping[str, str]) -> str:
    lines = []
    for finding in error.errors(include_url=False):
        name = str(finding["loc"][0])
        rule = f"{finding['msg']}."
        if finding["type"] == "string_pattern_mismatch":
            rule = f"expected {Settings.model_fields[name].description}."
        elif finding["type"] == "extra_forbidden":
            near = _nearest(name, Settings.model_fields)
            known = ", ".join(sorted(Settings.model_fields))
            rule = f"no such setting; did you mean {near}?" if near else f"known: {known}."
        origin = origins.get(name, "default")
        lines.append(f"setting {name} = {_told(name, finding['input'])} (from {origin}): {rule}")
    return "\n".join(lines)


def _told(name: str, value: object) -> str:
    """Return a value as a message may show it: what is, or may hold, a secret is not shown."""
    secret = name.rpartition("_")[2] in ("key", "token") or "@" in str(value)
    return "(hidden)" if secret else repr(value)


def _variable(name: str) -> str:
    return f"{PREFIX}{name.upper()}"


def _nearest(name: str, known: Iterable[str]) -> str | None:
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return near[0] if near else None
