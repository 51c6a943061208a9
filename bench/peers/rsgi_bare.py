"""RSGI, Granian's own interface: reads the body, answers the same JSON every time."""

ANSWER = b'{"prediction":false,"probability":0.25}'
HEADERS = [("content-type", "application/json")]


async def app(scope, protocol):
    await protocol()
    protocol.response_bytes(200, HEADERS, ANSWER)
