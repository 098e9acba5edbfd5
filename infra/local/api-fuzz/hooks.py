"""Lets schemathesis ask for what is there: products of the catalogue, and orders that it made itself. Without this nearly
every well-formed call would end at 404 or 422. Each well-formed submit also gets a key of its own."""

import http.client
import json
import os
import urllib.parse
import uuid

import schemathesis

KEYED = {"submitOrder", "adjustStock", "refundOrder"}


def ask(method: str, path: str, body: object = None) -> dict:
    base = urllib.parse.urlsplit(os.environ["API"])
    connection = http.client.HTTPConnection(base.hostname, base.port, timeout=30)
    headers = {
        "Authorization": f"Bearer {os.environ['TOKEN']}",
        "Content-Type": "application/json",
        "Idempotency-Key": str(uuid.uuid4()),
    }
    connection.request(method, path, json.dumps(body) if body else None, headers)
    return json.load(connection.getresponse())


def order(product: str) -> str:
    lines = [{"productId": product, "quantity": 1}]
    body = {"items": lines, "shippingAddress": "1 Harbour Road", "paymentMethod": "CREDIT_CARD"}
    return ask("POST", "/api/orders", body)["orderId"]


PRODUCTS = [item["id"] for item in ask("GET", "/api/products?limit=100")["items"]]
ORDERS = [order(product) for product in PRODUCTS[:5]]


def pick(known: list[str], drawn: object) -> object:
    """Mostly what is known, chosen by what was drawn, so that the same draw asks for the same again."""
    number = sum(str(drawn).encode())
    return known[number % len(known)] if known and number % 8 else drawn


def with_known(value: object) -> object:
    if isinstance(value, list):
        return [with_known(item) for item in value]
    if isinstance(value, dict):
        known = {name: with_known(item) for name, item in value.items()}
        if "productId" in known:
            known["productId"] = pick(PRODUCTS, known["productId"])
        return known
    return value


@schemathesis.hook
def before_call(context, case, kwargs):
    if case.meta is None or not case.meta.generation.mode.is_positive:
        return
    operation = case.operation.definition.raw.get("operationId")
    if operation in KEYED and "Idempotency-Key" in (case.headers or {}):
        case.headers["Idempotency-Key"] = str(uuid.uuid4())
    if "Prefer" in (case.headers or {}):
        case.headers["Prefer"] = "wait=1"
    path = case.path_parameters or {}
    for name, known in (("id", PRODUCTS if operation == "getProduct" else ORDERS), ("orderId", ORDERS), ("productId", PRODUCTS)):
        if name in path:
            path[name] = pick(known, path[name])
    if isinstance(case.body, dict):
        case.body = with_known(case.body)


@schemathesis.hook
def after_call(context, case, response):
    if response.status_code == 202 and case.path == "/api/orders" and len(ORDERS) < 200:
        ORDERS.append(response.json()["orderId"])
