"""Places one order and follows it to CONFIRMED, printing each change of status with the time since the submit.

usage: TOKEN=… python3 sample_order.py http://127.0.0.1:8080

Fails when the order settles in any other way, or not within its deadline. It speaks HTTP only, as any client would.
"""

import http.client
import json
import os
import sys
import time
import urllib.parse
import uuid

DEADLINE_S = 30
POLL_S = 0.05
SETTLED = {"CONFIRMED", "REJECTED", "CANCELLED", "EXPIRED"}


def main(base: str) -> None:
    client = Client(base, os.environ["TOKEN"])
    product = pick_product(client)
    order = {
        "items": [{"productId": product["id"], "quantity": 2}],
        "shippingAddress": "1 Harbour Road, Mombasa",
        "paymentMethod": "CREDIT_CARD",
    }
    price = product.get("price", {})
    print(f"  2 × {product.get('name', product['id'])} at {money(price)}")

    began = time.monotonic()
    status, answer = client.call("POST", "/api/orders", order, {"Idempotency-Key": str(uuid.uuid4())})
    elapsed = (time.monotonic() - began) * 1000
    if status != 202:
        sys.exit(f"  POST /api/orders answered {status}, not 202: {json.dumps(answer)}")
    print(f"  {elapsed:7.1f} ms  POST /api/orders → 202 {json.dumps(answer)}")
    follow(client, f"/api/orders/{answer['orderId']}", began)


def follow(client: "Client", path: str, began: float) -> None:
    last = None
    while time.monotonic() - began < DEADLINE_S:
        status, order = client.call("GET", path)
        if status != 200:
            sys.exit(f"  GET {path} answered {status}: {json.dumps(order)}")
        if order["status"] != last:
            last = order["status"]
            print(f"  {(time.monotonic() - began) * 1000:7.1f} ms  {last}", flush=True)
        if last in SETTLED:
            if last != "CONFIRMED":
                sys.exit(f"  the order ended as {last}: {json.dumps(order)}")
            return
        time.sleep(POLL_S)
    sys.exit(f"  the order is still {last} after {DEADLINE_S} s")


def pick_product(client: "Client") -> dict:
    """A product that can be bought twice; the deadline allows for a price book that is still filling."""
    deadline = time.monotonic() + DEADLINE_S
    while True:
        status, page = client.call("GET", "/api/products")
        items = page.get("items") if isinstance(page, dict) else None
        if status == 200 and items:
            return items[0]
        if time.monotonic() > deadline:
            sys.exit(f"  GET /api/products answered {status} without a product: {json.dumps(page)[:500]}")
        time.sleep(POLL_S)


def money(price: dict) -> str:
    return f"{price.get('amount', 0) / 100:.2f} {price.get('currency', '')}".strip()


class Client:
    """One kept-alive connection, so that the times shown are the service's and not the connection's."""

    def __init__(self, base: str, token: str) -> None:
        url = urllib.parse.urlsplit(base)
        self.connection = http.client.HTTPConnection(url.hostname, url.port, timeout=10)
        self.headers = {"Authorization": f"Bearer {token}", "Accept": "application/json"}

    def call(self, method: str, path: str, body: dict | None = None, headers: dict | None = None) -> tuple:
        payload = json.dumps(body) if body is not None else None
        content = {"Content-Type": "application/json"} if payload else {}
        self.connection.request(method, path, payload, {**self.headers, **content, **(headers or {})})
        response = self.connection.getresponse()
        raw = response.read()
        try:
            return response.status, json.loads(raw)
        except ValueError:
            return response.status, raw.decode(errors="replace")


if __name__ == "__main__":
    try:
        main(sys.argv[1])
    except OSError as problem:
        sys.exit(f"  the gateway at {sys.argv[1]} does not answer: {problem}")
