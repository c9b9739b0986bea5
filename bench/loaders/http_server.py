"""A bare aiohttp server that answers with the body that it was sent: the limit of REST through Python.

`python -m bench.loaders.http_server PORT`
"""

import sys

import uvloop
from aiohttp import web


async def echo(request: web.Request) -> web.Response:
    return web.Response(body=await request.read(), content_type="application/json")


def main(port: int) -> None:
    uvloop.install()
    app = web.Application()
    app.router.add_post("/", echo)
    web.run_app(app, host="127.0.0.1", port=port, print=None, access_log=None)


if __name__ == "__main__":
    main(int(sys.argv[1]))
