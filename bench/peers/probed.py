"""Strongroom with probes, which tell where its processor time goes.

The rest is the same as in `strongroom serve`. `/bench/costs` answers the time of every part so far.
"""

import argparse
from dataclasses import asdict
from pathlib import Path

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from bench.costs.meter import Cost, calibrate, snapshot
from bench.costs.probes import install


def main() -> None:
    """Serve until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--times", type=int, default=1, help="how often each probe is there")
    given = parser.parse_args()
    costs = calibrate()
    install(given.times)
    _serve(given.port, given.data_dir, costs)


def _serve(port: int, data_dir: Path, costs: dict[str, Cost]) -> None:
    # Imported here, because the probes must be in place when these modules make the routes.
    from backend.main import create_app  # noqa: PLC0415
    from bench.peers.strongroom import serve  # noqa: PLC0415
    from config.settings import Settings  # noqa: PLC0415

    async def tell(_: Request) -> Response:
        of_probes = {kind: asdict(cost) for kind, cost in costs.items()}
        return JSONResponse({**snapshot(), "costs": of_probes})

    def make(settings: Settings) -> FastAPI:
        app = create_app(settings)
        app.router.routes.append(Route("/bench/costs", tell))
        return app

    serve(port, data_dir, make)


if __name__ == "__main__":
    main()
