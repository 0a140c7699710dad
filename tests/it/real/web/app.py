"""A FastAPI application behind the balancer, run by uvicorn: bodies both ways, events, WebSocket."""

import asyncio
import hashlib
import sys

import uvicorn
from fastapi import FastAPI, Request, WebSocket, WebSocketDisconnect
from fastapi.responses import StreamingResponse

app = FastAPI()
acknowledged = asyncio.Semaphore(0)


@app.get("/seen")
async def seen(request: Request):
    fields = [[name.decode("latin-1"), value.decode("latin-1")] for name, value in request.headers.raw]
    return {"path": request.url.path, "query": request.url.query, "fields": fields}


@app.post("/sum")
async def sum_up(request: Request):
    """What came, however it was cut."""
    whole, length = hashlib.sha256(), 0
    async for part in request.stream():
        whole.update(part)
        length += len(part)
    return {"sha256": whole.hexdigest(), "length": length}


def line(number):
    return b"%015d\n" % number


@app.get("/lines/{count}")
async def lines(count: int):
    """A body of no announced length, in chunks of different sizes."""

    async def parts():
        number = 0
        while number < count:
            several = min(1 + number * 7 % 997, count - number)
            yield b"".join(line(number + i) for i in range(several))
            number += several

    return StreamingResponse(parts(), media_type="text/plain")


@app.get("/events")
async def events():
    """Each event is sent when the one before it has been acknowledged, and not before."""

    async def parts():
        for number in range(5):
            yield f"data: {number}\n\n"
            await acknowledged.acquire()
        yield "data: end\n\n"

    return StreamingResponse(parts(), media_type="text/event-stream")


@app.post("/acknowledge")
async def acknowledge():
    acknowledged.release()


@app.websocket("/ws")
async def echo(socket: WebSocket):
    offered = socket.scope["subprotocols"]
    await socket.accept(subprotocol=offered[0] if offered else None)
    try:
        while True:
            message = await socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            if message.get("text") == "leave":
                await socket.close(4000, "as asked")
                return
            await socket.send({key: message[key] for key in ("text", "bytes") if message.get(key) is not None} | {"type": "websocket.send"})
    except WebSocketDisconnect:
        pass


if __name__ == "__main__":
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=int(sys.argv[1]),
        log_level="warning",
        ws_max_size=1 << 26,
        **({"ssl_certfile": sys.argv[2], "ssl_keyfile": sys.argv[3]} if len(sys.argv) > 2 else {}),
    )
