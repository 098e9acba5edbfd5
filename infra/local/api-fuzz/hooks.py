"""Lets schemathesis ask for what is there: products of the catalogue, and orders that it made itself. Without this nearly
every well-formed call would end at 404 or 422. Each well-formed submit also gets a key of its own."""

import http.client
import json
import os
import re
import urllib.parse
import uuid
from datetime import datetime, timedelta, timezone

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
ENDPOINTS: list[str] = []
KNOWN = {"products": PRODUCTS, "orders": ORDERS, "webhooks": ENDPOINTS}
CATEGORIES = [item["slug"] for item in ask("GET", "/api/categories")["items"]]


def matches(parameter: dict, headers: dict) -> bool:
    """schemathesis draws "0" for a header now and then, whatever its pattern says: that is no well-formed call."""
    pattern = parameter.get("schema", {}).get("pattern")
    value = headers.get(parameter["name"])
    return pattern is None or value is None or re.search(pattern, str(value)) is not None


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
        if "category" in known:
            known["category"] = pick(CATEGORIES, known["category"])
        if "deadline" in known:
            soon = datetime.now(timezone.utc) + timedelta(minutes=5)
            known["deadline"] = soon.isoformat(timespec="milliseconds")
        return known
    return value


@schemathesis.hook
def before_load_schema(context, raw_schema):
    """OpenAPI 3.1 has no word for the events of a stream: what it tells is the text. schemathesis checks each event."""
    stream = raw_schema["paths"]["/api/orders/{id}/events"]["get"]["responses"]["200"]["content"]["text/event-stream"]
    data = {"type": "string", "contentMediaType": "application/json"}
    event = {"id": {"type": "string", "pattern": "^[0-9]+$"}, "data": data}
    stream["schema"] = {"type": "object", "required": ["id", "data"], "properties": event}


@schemathesis.hook
def before_call(context, case, kwargs):
    if case.meta is None or not case.meta.generation.mode.is_positive:
        return
    operation = case.operation.definition.raw.get("operationId")
    if operation in KEYED and "Idempotency-Key" in (case.headers or {}):
        case.headers["Idempotency-Key"] = str(uuid.uuid4())
    for parameter in case.operation.definition.raw.get("parameters", []):
        if parameter.get("in") == "header" and not matches(parameter, case.headers or {}):
            case.headers.pop(parameter["name"])
    if "Prefer" in (case.headers or {}):
        case.headers["Prefer"] = "wait=1"
    path = case.path_parameters or {}
    of_path = next((known for name, known in KNOWN.items() if f"/{name}/" in case.path), [])
    for name, known in (("id", of_path), ("orderId", ORDERS), ("productId", PRODUCTS)):
        if name in path and path[name] not in known:
            path[name] = pick(known, path[name])
    if isinstance(case.body, dict):
        case.body = with_known(case.body)


@schemathesis.hook
def after_call(context, case, response):
    if response.status_code == 202 and case.path == "/api/orders" and len(ORDERS) < 200:
        ORDERS.append(response.json()["orderId"])
    if response.status_code == 201 and case.path == "/api/webhooks":
        ENDPOINTS.append(response.json()["id"])
    if response.status_code == 204 and case.path == "/api/webhooks/{id}":
        gone = response.request.url.rsplit("/", 1)[-1]
        ENDPOINTS[:] = [id for id in ENDPOINTS if id != gone]
