"""Holds what was asked and answered against the OpenAPI file. Needs `jsonschema` (pip install jsonschema)."""

import json
import sys

from jsonschema import Draft202012Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012


def main(description, heard):
    document = json.load(open(description))
    registry = Registry().with_resource("urn:api", Resource(contents=document, specification=DRAFT202012))
    wrong = []
    for one in json.load(open(heard)):
        what = f"{one['method']} {one['path']} {one['status']}"
        operation = document["paths"][one["path"]][one["method"].lower()]
        answers = operation["responses"]
        good = 200 <= one["status"] < 300
        if good and str(one["status"]) not in answers:
            wrong.append(f"{what}: this status is not described")
            continue
        content = answers[str(one["status"]) if good else "default"]["content"]
        kind = "application/json" if good else "application/problem+json"
        if kind in content:
            check(registry, content[kind]["schema"], one["answer"], f"{what}: the answer", wrong)
        if one["request"] is not None and good:
            schema = operation["requestBody"]["content"]["application/json"]["schema"]
            check(registry, schema, one["request"], f"{what}: the request", wrong)
    print("\n".join(wrong))
    return 1 if wrong else 0


def check(registry, schema, value, what, wrong):
    validator = Draft202012Validator(rebased(schema), registry=registry)
    for error in validator.iter_errors(value):
        wrong.append(f"{what} at {error.json_path}: {error.message}")


def rebased(schema):
    """References within the file, as references to it."""
    text = json.dumps(schema).replace('"#/', '"urn:api#/')
    return json.loads(text)


sys.exit(main(*sys.argv[1:]))
