"""`strongroom keys`: master keys."""

import asyncio
from typing import Any

import typer

from backend.cli.common import (
    AsJson,
    DataDir,
    as_json_line,
    print_json,
    print_table,
    quiet_settings,
)
from backend.crypto.keyring import Keyring, generate_master_key
from backend.runtime import find_keyring, inspection
from config.settings import Settings
from strongroom._commands.terminal import hand_out

app = typer.Typer(rich_markup_mode=None)


@app.callback(invoke_without_command=True)
def _keys(context: typer.Context) -> None:
    """Generate and rotate master keys, and see what they protect."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command()
def generate(as_json: AsJson = False) -> None:
    """Print a new master key and nothing else."""
    key = generate_master_key()
    if as_json:
        hand_out(as_json_line({"id": key.partition(":")[0], "master_key": key}))
    else:
        hand_out(key)


@app.command()
def status(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Show what is encrypted under which key."""
    settings = quiet_settings(data_dir)
    result = asyncio.run(_status(settings, find_keyring(settings)))
    if as_json:
        print_json(result)
        return
    print_table(
        ("key", "configured", "fits", "installation", "project keys", "secrets", "answer keys"),
        [
            (
                key["id"],
                "current" if key["current"] else _YES_NO[key["configured"]],
                _YES_NO[key["fits"]],
                _YES_NO[key["installation"]],
                str(key["project_keys"]),
                str(key["secrets"]),
                str(key["answer_keys"]),
            )
            for key in result["keys"]
        ],
    )


_YES_NO = {True: "yes", False: "no", None: "-"}


async def _status(settings: Settings, keyring: Keyring | None) -> dict[str, Any]:
    """The status as in the HTTP answer, with `fits` for each key: whether the configured key is the
    one that the database knows under its id; `None` unless both exist."""
    async with inspection(settings, keyring, check=False) as opened:
        status = await opened.service.rotation.status()
        canaries, vault = opened.records.canaries, opened.service.kit.vault
    result = status.model_dump(mode="json")
    for key in result["keys"]:
        both = key["configured"] and key["id"] in canaries
        key["fits"] = vault.check_canary(key["id"], canaries[key["id"]]) if both else None
    return result
