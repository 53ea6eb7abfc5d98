"""A W&B server on this machine that keeps what the SDK sends: enough for ``wandb sync``, ``wandb.Api`` and reports."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

ENTITY, USER = "team", "someone"
NOW = "2026-01-01T00:00:00"


class StandIn(ThreadingHTTPServer):
    """Answers as W&B does to what this project asks; use it as a context manager.

    Attributes:
        runs: id -> project, group and config of each run that was uploaded.
        history: id -> the rows that were logged.
        reports: the saved reports, each with its ``spec`` decoded.
        asked: every GraphQL query and its variables.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.runs: dict[str, dict[str, Any]] = {}
        self.history: dict[str, list[dict[str, Any]]] = {}
        self.reports: list[dict[str, Any]] = []
        self.asked: list[tuple[str, dict[str, Any]]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def __enter__(self) -> StandIn:
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()

    def answer(self, query: str, given: dict[str, Any]) -> dict[str, Any]:
        """The ``data`` of a GraphQL query."""
        self.asked.append((query, given))
        if "upsertBucket" in query:
            return self._keep_run(given)
        if "createRunFiles" in query:
            files = [{"name": name, "uploadUrl": f"{self.url}/uploads/{name}"} for name in given["files"]]
            return {"createRunFiles": {"runID": given["run"], "uploadHeaders": [], "files": files}}
        if "upsertView" in query:
            self.reports.append({**given, "spec": json.loads(given["spec"])})
            view = {
                "id": f"Vmlldzo{len(self.reports)}==", "type": "runs", "name": given["name"], "spec": given["spec"],
                "displayName": given["displayName"], "description": given["description"],
                "project": {"id": "1", "name": given["projectName"], "entityName": given["entityName"]},
                "updatedAt": NOW,
            }  # fmt: skip
            return {"upsertView": {"view": view, "inserted": True}}
        if "query Runs(" in query:
            return {"project": self._project(given["project"], json.loads(given["filters"]))}
        if "projectInternalId" in query or "ProjectInternalId" in query:
            return {"project": {"internalId": "1"}}
        if "models(" in query:
            names = sorted({run["project"] for run in self.runs.values()})
            about = {"entityName": ENTITY, "createdAt": NOW, "isBenchmark": False, "user": None}
            edges = [{"node": {"id": name, "name": name, **about}, "cursor": name} for name in names]
            return {"models": {"edges": edges, "pageInfo": {"hasNextPage": False, "endCursor": None}}}
        if "viewer" in query:
            return {"viewer": {"id": "1", "entity": ENTITY, "username": USER, "flags": "{}", "teams": {"edges": []}}}
        return {}

    def _keep_run(self, given: dict[str, Any]) -> dict[str, Any]:
        run = self.runs.setdefault(given["name"], {"project": given.get("project"), "group": None, "config": {}})
        run["group"] = given.get("groupName") or run["group"]
        run["config"] |= json.loads(given.get("config") or "{}")
        project = {"name": run["project"], "entity": {"name": given.get("entity") or ENTITY}}
        bucket = {"id": given["name"], "name": given["name"], "displayName": given["name"], "project": project}
        return {"upsertBucket": {"bucket": {**bucket, "historyLineCount": 0}, "inserted": True}}

    def _project(self, project: str, filters: dict[str, Any]) -> dict[str, Any] | None:
        mine = {name: run for name, run in self.runs.items() if run["project"] == project}
        wanted = filters["name"]["$in"]  # the one filter that is asked for
        found = [self._node(name, run) for name, run in sorted(mine.items()) if name in wanted]
        pages = {"hasNextPage": False, "endCursor": None}
        there = {"internalId": "1", "runCount": len(found), "readOnly": False}
        return {**there, "runs": {"edges": found, "pageInfo": pages}} if mine else None

    def _node(self, name: str, run: dict[str, Any]) -> dict[str, Any]:
        node = {
            "id": name, "name": name, "displayName": name, "state": "finished", "group": run["group"], "projectId": 1,
            "config": json.dumps(run["config"]), "summaryMetrics": "{}", "systemMetrics": "{}", "tags": [],
            "createdAt": NOW, "user": {"name": USER, "username": USER}, "historyKeys": None,
        }  # fmt: skip
        return {"node": node, "cursor": name}


class _Handler(BaseHTTPRequestHandler):
    server: StandIn

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        answer: dict[str, Any] = {}
        if self.path == "/graphql":
            asked = json.loads(body)
            answer = {"data": self.server.answer(asked["query"], asked.get("variables") or {})}
        elif self.path.endswith("/file_stream"):
            rows = json.loads(body).get("files", {}).get("wandb-history.jsonl", {}).get("content", [])
            run = self.path.split("/")[-2]
            self.server.history.setdefault(run, []).extend(json.loads(row) for row in rows)
        self._send(answer)

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self._send({})

    def do_GET(self) -> None:
        self._send({})

    def _send(self, answer: dict[str, Any]) -> None:
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Quiet."""
